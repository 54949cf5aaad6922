"""Which pixels of one image are the scanner's padding, and which declarations of padding are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.pixels import PixelSpan, Words
from ldctpipe.volumes.padding import FILLED_BELOW_HU, fill_value

Mask = npt.NDArray[np.bool_]

_TISSUE_HU = (-300.0, 300.0)
_AIR_BELOW_HU = -950.0
_BEYOND_METAL_HU = 32768.0  # a negative number in an attribute without sign


@dataclass(frozen=True)
class ImagePadding:
    """The padding of one image (rows, columns); `mask` is None where there is none.

    `is_doubted` tells that pixels have a declared value and yet count as measured. `covers_image` tells that all have.
    """

    mask: Mask | None = None
    is_doubted: bool = False
    covers_image: bool = False


def padding_of(words: Words, values: npt.NDArray[Any], span: PixelSpan, slope: float, intercept: float) -> ImagePadding:
    """Return which pixels hold no measurement: those of the declared range, and an undeclared fill.

    Scanners pad around the reconstructed circle, far below air. A declared range that overlaps −300 to 300 HU is a
    wrong attribute and is ignored, because tissue has these values. In any other range above −1500 HU, only pixels
    connected to a corner of the image count, as measured pixels have such values, too. The undeclared fill
    (Toshiba: −2048 HU) is the value of a corner that is too low for any measurement.
    """
    declared = _declared(words, values, span)
    doubted, mask = False, None
    if declared is not None:
        believed = _believed(declared, span, slope, intercept)
        mask = believed if believed is not None and believed.any() else None
        doubted = bool(_is_doubtful(span, slope, intercept) and (believed is None or (declared & ~believed).any()))
    for fill in _fills(words, values, span, slope, intercept):
        mask = fill if mask is None else mask | fill
    return ImagePadding(mask, doubted, declared is not None and bool(declared.all()))


def _declared(words: Words, values: npt.NDArray[Any], span: PixelSpan) -> Mask | None:
    if span.padding is None:
        return None
    mask = _within(values, *span.padding)
    if span.pads_beyond_values:
        mask |= _within(words.view(np.int16) if span.pixel_format.is_signed else words, *span.padding)
    return mask if mask.any() else None


def _believed(declared: Mask, span: PixelSpan, slope: float, intercept: float) -> Mask | None:
    low_hu, high_hu = _range_hu(span, slope, intercept)
    if low_hu >= _BEYOND_METAL_HU or not _can_be_stored(span):
        return declared
    if low_hu < _TISSUE_HU[1] and high_hu > _TISSUE_HU[0]:
        return None
    return declared if high_hu <= FILLED_BELOW_HU else _at_corners(declared)


def _can_be_stored(span: PixelSpan) -> bool:
    low, high = span.padding or (0, 0)
    return low <= span.pixel_format.highest and high >= span.pixel_format.lowest


def _is_doubtful(span: PixelSpan, slope: float, intercept: float) -> bool:
    """Air clipped to a padding value of air is common, and no reason to warn."""
    return _range_hu(span, slope, intercept)[1] > _AIR_BELOW_HU


def _range_hu(span: PixelSpan, slope: float, intercept: float) -> tuple[float, float]:
    ends = [value * slope + intercept for value in span.padding or ()]
    return min(ends), max(ends)


def _at_corners(mask: Mask) -> Mask:
    """The parts of `mask` that hold a corner of the image, through shared edges of pixels."""
    from scipy import ndimage  # most series need none of it

    parts, _ = ndimage.label(mask)
    corners = np.unique(parts[[0, 0, -1, -1], [0, -1, 0, -1]])
    found: Mask = np.isin(parts, corners[corners > 0])
    return found


def _fills(words: Words, values: npt.NDArray[Any], span: PixelSpan, slope: float, intercept: float) -> list[Mask]:
    """What fills the image without a declaration; also as whole words that don't fit BitsStored."""
    found = [values == fill for fill in fill_value(values, slope, intercept)]
    if not found and span.pixel_format.bits_stored < 16 and not span.overlay_bits:
        numbers = words.view(np.int16)
        found = [numbers == fill for fill in fill_value(numbers, slope, intercept)]
    return found


def _within(values: npt.NDArray[Any], low: int, high: int) -> Mask:
    return values == low if low == high else (values >= low) & (values <= high)

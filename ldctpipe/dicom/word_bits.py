"""Whether the words of an image use more bits than its header declares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.pixels import PixelFormat, PixelSpan, Words
from ldctpipe.dicom.rejection import Rejected, unsupported

Mask = npt.NDArray[np.bool_]

_WORD = 0xFFFF
_NEAR_PIXELS = 3
_LARGEST_STEP, _LEAST_STEP = 4.0, 8.0


def stray_bits(words: Words, span: PixelSpan) -> Mask | None:
    """Return which words (rows, columns) have bits outside BitsStored that nothing explains, or None where none has.

    An overlay that the header places in these bits explains them (PS3.5 §8.1.2), and so does the sign of a negative
    value, which some writers extend to the whole word and others don't.
    """
    pixel_format = span.pixel_format
    stored = ((1 << pixel_format.bits_stored) - 1) << pixel_format.shift
    outside = _WORD & ~stored & ~span.overlay_bits
    if not outside or not int(np.bitwise_or.reduce(words, axis=None)) & outside:
        return None
    stray = (words & np.uint16(outside)) != 0
    if pixel_format.is_signed:
        stray = _without_signs(words, stray, pixel_format, outside)
    return stray if stray.any() else None


def _without_signs(words: Words, stray: Mask, pixel_format: PixelFormat, outside: int) -> Mask:
    """Where bits are no extension of the sign; where the image extends signs, positive values beyond BitsStored too."""
    extended = ((pixel_format.values(words) << pixel_format.shift) & _WORD).astype(np.uint16)
    is_negative = (words & np.uint16(1 << pixel_format.high_bit)) != 0
    is_extended = ((words ^ extended) & np.uint16(outside)) == 0
    if (is_negative & is_extended).any():
        return stray & ~is_extended | is_negative & ~is_extended
    return stray & ~is_extended


def refuse_larger_values(words: Words, stray: Mask, span: PixelSpan) -> None:
    """Raise `Rejected` if `stray` bits are the upper bits of values that BitsStored is too small for.

    Beneath bits of an overlay whose declaration was lost (anonymizers remove it), the image is continuous. If the bits
    belong to values, masking removes their upper bits, and their pixels jump relative to their neighbors.
    """
    values = span.pixel_format.values(words)
    at_edges, elsewhere = _steps(values, stray)
    if at_edges.size and np.median(at_edges) > _LARGEST_STEP * max(_LEAST_STEP, _median(elsewhere)):
        bits = span.pixel_format.bits_stored
        fault = f"words that hold larger values than the {bits} bits of BitsStored"
        raise Rejected(unsupported(fault, "export it again with the BitsStored that its values need"))


def _median(steps: npt.NDArray[np.int32]) -> float:
    return float(np.median(steps)) if steps.size else 0.0


def _steps(values: npt.NDArray[np.int32], stray: Mask) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Differences of neighboring values: of a stray and a sound one, and of two sound ones nearby."""
    from scipy import ndimage

    near = ndimage.binary_dilation(stray, iterations=_NEAR_PIXELS)
    at_edges, elsewhere = [], []
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        step = np.abs(values[one] - values[other])
        at_edges.append(step[stray[one] != stray[other]])
        elsewhere.append(step[(near[one] | near[other]) & ~stray[one] & ~stray[other]])
    return np.concatenate(at_edges), np.concatenate(elsewhere)

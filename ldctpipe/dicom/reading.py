"""A CT series to a `Volume` in HU."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ldctpipe.devices import usable_cores
from ldctpipe.dicom.decoding import Image, read_words
from ldctpipe.dicom.hounsfield import become_whole_hu, rescaled
from ldctpipe.dicom.padding_pixels import padding_of
from ldctpipe.dicom.pixels import Words
from ldctpipe.dicom.rejection import Rejected
from ldctpipe.dicom.series import Series, Slice, series_key
from ldctpipe.dicom.word_bits import refuse_larger_values, stray_bits
from ldctpipe.errors import InputError
from ldctpipe.volumes.levels import blocks_of
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.plausibility import hu_doubt, hu_fault
from ldctpipe.volumes.slice_scale import rescaling_fault
from ldctpipe.volumes.volume import HuArray, Volume
from ldctpipe.volumes.voxel_size import step_fault

_SLICES_A_TASK = 8  # a task a slice would take as long as the slice
_REMEDY = "export it again with a right rescale slope and intercept"


@dataclass
class _Doubts:
    """Numbers of the slices in which something is odd; threads add to them."""

    padding: list[int] = field(default_factory=list)
    covered: list[int] = field(default_factory=list)
    bits: list[int] = field(default_factory=list)

    def warnings(self) -> tuple[str, ...]:
        found = []
        if self.padding:
            fault = "a declared padding value is also a value of tissue; its pixels count as measured"
            found.append(f"{fault} ({_slices(self.padding)})")
        if self.bits:
            fault = "bits outside BitsStored are set and no overlay is declared there; they are ignored"
            found.append(f"{fault} ({_slices(self.bits)})")
        return tuple(found)


def _slices(numbers: Sequence[int]) -> str:
    return "1 slice" if len(numbers) == 1 else f"{len(numbers)} slices"


def read_volume(series: Series, threads: int | None = None) -> Volume:
    """Return the series in HU, slices in ascending position along the slice normal.

    Native pixels are read into the volume and become HU there, so that nothing of the size of the volume lies beside
    it; `threads` are as many as this process may use where not given. Raises `InputError` when a file is damaged or
    changed since discovery, when the values can't be HU, or when the images are several scans that nothing tells apart.
    """
    if series.refusal:
        raise InputError(f"series {series.key}", series.refusal.reason, series.refusal.remedy)
    hu, padding, doubts = _read(series, threads or usable_cores())
    _refuse_padding_everywhere(series, padding, doubts)
    warnings = doubts.warnings()
    if not series.is_denoised:  # its scale is known: what looks wrong there is the model's doing, and is to be measured
        _refuse_impossible_hu(series, hu, padding)
        warnings = (*warnings, *filter(None, [hu_doubt(hu, padding)]))
    return Volume(
        hu,
        series.affine,
        series.positions_mm,
        padding if padding.any() else None,
        series.acquisition,
        series.key,
        series_key(series.frame_of_reference_uid) if series.frame_of_reference_uid else None,
        (*series.warnings, *warnings),
        {"source": "dicom", "key": series.key, "slices": len(series.slices)},
        tuple(place.path for place in series.slices),
    )


def source_hu(image: Image, place: Slice) -> HuArray:
    """Return stored value × slope + intercept (PS3.3 §C.11.1) of one image: int16 where all are whole, else float32."""
    return rescaled(image.values, place.slope, place.intercept)


def _read(series: Series, threads: int) -> tuple[HuArray, Padding, _Doubts]:
    """HU and padding: int16 where every HU of the series is whole, else everything once more as float32."""
    shape = len(series.slices), series.rows, series.columns
    hu, padding, doubts = np.empty(shape, dtype=np.int16), Padding.none(shape), _Doubts()
    if _all_read(series, hu, padding, doubts, threads):
        return hu, padding, doubts
    del hu
    exact, padding, doubts = np.empty(shape, dtype=np.float32), Padding.none(shape), _Doubts()
    _all_read(series, exact, padding, doubts, threads)
    return exact, padding, doubts


def _all_read(series: Series, hu: HuArray, padding: Padding, doubts: _Doubts, threads: int) -> bool:
    """Read all slices into `hu`, or return False where its type can't hold those of one of them."""

    def read_some(numbers: range) -> bool:
        return all(_read_slice(series.slices[number], hu[number], padding, doubts, number) for number in numbers)

    count = len(series.slices)
    at_once = min(_SLICES_A_TASK, -(-count // threads))
    tasks = [range(first, min(first + at_once, count)) for first in range(0, count, at_once)]
    with ThreadPoolExecutor(threads) as pool:
        return all(pool.map(read_some, tasks))


def _read_slice(place: Slice, hu: HuArray, padding: Padding, doubts: _Doubts, number: int) -> bool:
    span, is_whole = place.pixels, hu.dtype == np.int16
    words = hu.view(np.uint16) if is_whole else np.empty(hu.shape, dtype=np.uint16)
    read_words(place.path, span, words)
    stray = stray_bits(words, span)
    stored = words.copy() if span.pads_beyond_values or stray is not None else words
    values = span.pixel_format.values_in_place(words)
    found = padding_of(stored, values, span, place.slope, place.intercept)
    if stray is not None and _has_stray_bits(place, stored, stray if found.mask is None else stray & ~found.mask):
        doubts.bits.append(number)
    if found.mask is not None:
        padding.mark(number, found.mask)
    if found.is_doubted:
        doubts.padding.append(number)
    if found.covers_image:
        doubts.covered.append(number)
    if is_whole:
        return become_whole_hu(values, place.slope, place.intercept)
    hu[...] = rescaled(values, place.slope, place.intercept)
    return True


def _has_stray_bits(place: Slice, words: Words, stray: npt.NDArray[np.bool_]) -> bool:
    try:
        refuse_larger_values(words, stray, place.pixels)
    except Rejected as rejected:
        fault = f"can't be used: {rejected.rejection.reason}"
        raise InputError(place.path, fault, rejected.rejection.remedy) from None
    return bool(stray.any())


def _refuse_padding_everywhere(series: Series, padding: Padding, doubts: _Doubts) -> None:
    if len(doubts.covered) == len(series.slices) or padding.count() == math.prod(padding.shape):
        raise InputError(f"series {series.key}", "padding covers every pixel, so nothing was measured", _REMEDY)


def _refuse_impossible_hu(series: Series, hu: HuArray, padding: Padding) -> None:
    """Refuse volumes with values or slice distances that no CT has."""
    key = f"series {series.key}"  # folders are named after patients
    if fault := hu_fault(hu, padding if padding.any() else None):
        raise InputError(key, f"its values can't be HU: it {fault}", _REMEDY)
    if number := _first_rescaled(series, hu, padding):
        fault = f"slice {number} shows what the slice before shows, but with the other rescale slope of its header"
        raise InputError(key, f"its values can't be HU: {fault}", _REMEDY)
    if len(series.slices) > 1 and (fault := step_fault(float(np.median(np.diff(series.positions_mm))))):
        raise InputError(key, f"has {fault}", "export it again with right positions")


def _first_rescaled(series: Series, hu: HuArray, padding: Padding) -> int | None:
    """The number of the first slice of which the header has another slope than that of the one before, and lies."""
    for number, (before, place) in enumerate(itertools.pairwise(series.slices), 1):
        if place.slope != before.slope:
            now, then = (blocks_of(hu[index], padding[index]).means for index in (number, number - 1))
            if rescaling_fault(now, then, place.slope / before.slope):
                return number + 1
    return None

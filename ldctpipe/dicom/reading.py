"""A CT series to a `Volume` in HU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ldctpipe.devices import usable_cores
from ldctpipe.dicom.decoding import Image, read_words
from ldctpipe.dicom.hounsfield import become_whole_hu, rescaled
from ldctpipe.dicom.pixels import padding_mask
from ldctpipe.dicom.series import Series, Slice, series_key
from ldctpipe.errors import InputError
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.plausibility import scale_fault
from ldctpipe.volumes.volume import HuArray, Volume

_SLICES_A_TASK = 8  # a task a slice would take as long as the slice
_SAMPLED_SLICES, _SAMPLED_PIXEL_STEP = 64, 4


def read_volume(series: Series, threads: int | None = None) -> Volume:
    """Return the series in HU, slices in ascending position along the slice normal.

    Native pixels are read into the volume and become HU there, so that nothing of the size of the volume lies beside
    it; `threads` are as many as this process may use where not given. Raises `InputError` when a file is damaged or
    changed since discovery, when the values can't be HU, or when the images are several scans that nothing tells apart.
    """
    if series.refusal:
        raise InputError(f"series {series.key}", series.refusal.reason, series.refusal.remedy)
    hu, padding = _read(series, threads or usable_cores())
    if not series.is_denoised:  # its scale is known: what looks wrong there is the model's doing, and is to be measured
        _refuse_impossible_hu(series, hu, padding)
    return Volume(
        hu,
        series.affine,
        series.positions_mm,
        padding if padding.any() else None,
        series.acquisition,
        series.key,
        series_key(series.frame_of_reference_uid) if series.frame_of_reference_uid else None,
        series.warnings,
        {"source": "dicom", "key": series.key, "slices": len(series.slices)},
        tuple(place.path for place in series.slices),
    )


def source_hu(image: Image, place: Slice) -> HuArray:
    """Return stored value × slope + intercept (PS3.3 §C.11.1) of one image: int16 where all are whole, else float32."""
    return rescaled(image.values, place.slope, place.intercept)


def _read(series: Series, threads: int) -> tuple[HuArray, Padding]:
    """HU and padding: int16 where every HU of the series is whole, else everything once more as float32."""
    shape = len(series.slices), series.rows, series.columns
    hu, padding = np.empty(shape, dtype=np.int16), Padding.none(shape)
    if _all_read(series, hu, padding, threads):
        return hu, padding
    del hu
    exact, padding = np.empty(shape, dtype=np.float32), Padding.none(shape)
    _all_read(series, exact, padding, threads)
    return exact, padding


def _all_read(series: Series, hu: HuArray, padding: Padding, threads: int) -> bool:
    """Read all slices into `hu`, or return False where its type can't hold those of one of them."""

    def read_some(numbers: range) -> bool:
        return all(_read_slice(series.slices[number], hu[number], padding, number) for number in numbers)

    count = len(series.slices)
    at_once = min(_SLICES_A_TASK, -(-count // threads))
    tasks = [range(first, min(first + at_once, count)) for first in range(0, count, at_once)]
    with ThreadPoolExecutor(threads) as pool:
        return all(pool.map(read_some, tasks))


def _read_slice(place: Slice, hu: HuArray, padding: Padding, number: int) -> bool:
    span, is_whole = place.pixels, hu.dtype == np.int16
    words = hu.view(np.uint16) if is_whole else np.empty(hu.shape, dtype=np.uint16)
    read_words(place.path, span, words)
    stored = words.copy() if span.pads_beyond_values else words
    values = span.pixel_format.values_in_place(words)
    mask = padding_mask(stored, values, span, place.slope, place.intercept)
    if mask is not None:
        padding.mark(number, mask)
    if is_whole:
        return become_whole_hu(values, place.slope, place.intercept)
    hu[...] = rescaled(values, place.slope, place.intercept)
    return True


def _refuse_impossible_hu(series: Series, hu: HuArray, padding: Padding) -> None:
    """Refuse volumes whose soft tissue is nowhere near 0 HU: none denser than lung, a lost intercept, a wild slope."""
    numbers = range(0, len(hu), -(-len(hu) // _SAMPLED_SLICES))
    pixels = np.s_[::_SAMPLED_PIXEL_STEP, ::_SAMPLED_PIXEL_STEP]
    sampled = np.concatenate([hu[number][pixels][~padding[number][pixels]] for number in numbers])
    if sampled.size and scale_fault(sampled):
        raise InputError(
            f"series {series.key}",  # folders are named after patients
            "its values can't be HU: soft tissue is nowhere near 0",
            "export it again with a right rescale slope and intercept",
        )

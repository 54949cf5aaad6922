"""A CT series to a `Volume` in HU."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.decoding import Image, Values, decode
from ldctpipe.dicom.series import Series, Slice
from ldctpipe.errors import InputError
from ldctpipe.volumes.volume import HuArray, Volume

_INT16_LOWEST, _INT16_HIGHEST = -32768, 32767
_SAMPLED_PIXEL_STEP = 4
_DENSEST_OF_AIR_HU = -300.0
_BRIGHT_WITHOUT_INTERCEPT_HU = 800.0


def read_volume(series: Series, threads: int | None = None) -> Volume:
    """Return the series in HU, slices in ascending position along the slice normal.

    Raises `InputError` when a file is damaged or changed since discovery, or when the values can't be HU.
    """
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        slices = list(pool.map(lambda image: _read_slice(series, image), series.slices))
    hu = _stacked([hu for hu, _ in slices])
    padding = np.stack([padding for _, padding in slices])
    _refuse_impossible_hu(series, hu, padding)
    provenance = {
        "source": "dicom",
        "key": series.key,
        "slices": len(series.slices),
        "hu_sha256": hashlib.sha256(np.ascontiguousarray(hu).data).hexdigest(),
    }
    return Volume(
        hu,
        series.affine,
        series.positions_mm,
        padding if padding.any() else None,
        series.acquisition,
        series.key,
        series.frame_of_reference_uid,
        series.warnings,
        provenance,
        tuple(image.path for image in series.slices),
    )


def source_hu(image: Image, place: Slice) -> HuArray:
    """Return stored value × slope + intercept (PS3.3 §C.11.1) of one image: int16 where all are whole, else float32."""
    return rescaled(image.values, place.slope, place.intercept)


def rescaled(values: Values, slope: float, intercept: float) -> HuArray:
    """Return values × slope + intercept as int16 where every result is a whole number that fits, else as float32."""
    if slope.is_integer() and intercept.is_integer():
        whole = values.astype(np.int64) * int(slope) + int(intercept)
        if whole.min() >= _INT16_LOWEST and whole.max() <= _INT16_HIGHEST:
            return whole.astype(np.int16)
        return whole.astype(np.float32)
    exact = values * np.float64(slope) + intercept
    fits = exact.min() >= _INT16_LOWEST and exact.max() <= _INT16_HIGHEST
    return exact.astype(np.int16) if fits and bool((exact == np.rint(exact)).all()) else exact.astype(np.float32)


def _read_slice(series: Series, place: Slice) -> tuple[HuArray, npt.NDArray[np.bool_]]:
    image = decode(place.path)
    if image.words.shape != (series.rows, series.columns) or str(image.dataset.SOPInstanceUID) != place.sop_uid:
        raise InputError(place.path, "changed while it was read", "run the command again")
    return source_hu(image, place), image.padding


def _stacked(slices: Sequence[HuArray]) -> HuArray:
    if all(hu.dtype == np.int16 for hu in slices):
        return np.stack([hu.astype(np.int16, copy=False) for hu in slices])
    return np.stack([hu.astype(np.float32) for hu in slices])


def _refuse_impossible_hu(series: Series, hu: HuArray, padding: npt.NDArray[np.bool_]) -> None:
    """Refuse volumes whose soft tissue is nowhere near 0 HU: nothing denser than lung, or a lost intercept."""
    step = _SAMPLED_PIXEL_STEP
    sampled = hu[:, ::step, ::step][~padding[:, ::step, ::step]]
    if not sampled.size:
        return
    dense = float(np.percentile(sampled, 99.9))
    without_intercept = sampled.min() >= 0 and dense > _BRIGHT_WITHOUT_INTERCEPT_HU
    if dense < _DENSEST_OF_AIR_HU or without_intercept:
        raise InputError(
            f"series {series.key} ({series.slices[0].path.parent})",
            "its values can't be HU: soft tissue is nowhere near 0",
            "export it again with a right rescale slope and intercept",
        )

"""A few slices of each evaluated patient, kept so that the report can show pictures: `samples.npz`."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ldctpipe.errors import InputError
from ldctpipe.files import new_file
from ldctpipe.foreign import require_file
from ldctpipe.metrics.matching import MatchedSeries

ROLES = ("low_dose", "denoised", "full_dose")
SLICES_PER_PATIENT = 4
_LARGEST_BYTES = 1 << 31
_LEAST_SIDE = 16
_DAMAGED = (
    ValueError, TypeError, LookupError, EOFError, OSError, OverflowError, MemoryError, SyntaxError, RecursionError,
    NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One slice in HU: `hu` has shape (3, rows, columns), int16, in the order of `ROLES`."""

    patient: str
    series: str
    position_mm: float
    pixel_mm: tuple[float, float]
    hu: npt.NDArray[np.int16]


def samples_of(series: MatchedSeries, patient: str, count: int) -> list[Sample]:
    """Return `count` slices, evenly spread over the matched slices and away from the ends."""
    wanted = np.unique(np.linspace(0, len(series) - 1, count + 2)[1:-1].round().astype(int))
    return [_sample(series, int(index), patient) for index in wanted]


def _sample(series: MatchedSeries, index: int, patient: str) -> Sample:
    images = series.images(index)
    hu = np.stack([np.rint(images[role]).astype(np.int16) for role in ROLES])
    position_mm = float(series.full_dose.positions_mm[series.full_index[index]])
    _, row_mm, column_mm = series.full_dose.spacing_mm
    return Sample(patient, series.full_dose.key, round(position_mm, 3), (row_mm, column_mm), hu)


def write_samples(path: Path, samples: list[Sample]) -> None:
    """Write samples as `hu_0000`, … beside the arrays `patient`, `series`, `position_mm`, `pixel_mm` and `roles`."""
    arrays = {f"hu_{number:04d}": sample.hu for number, sample in enumerate(samples)}
    with new_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            patient=np.array([sample.patient for sample in samples], dtype=np.str_),
            series=np.array([sample.series for sample in samples], dtype=np.str_),
            position_mm=np.array([sample.position_mm for sample in samples], dtype=np.float64),
            pixel_mm=np.array([sample.pixel_mm for sample in samples], dtype=np.float64).reshape(-1, 2),
            roles=np.array(ROLES),
            allow_pickle=False,
            **arrays,
        )


def read_samples(path: Path) -> list[Sample]:
    """Return what `write_samples` wrote; raises `InputError` for another file."""
    require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > _LARGEST_BYTES:
                raise ValueError("it is too large")
        with np.load(path, allow_pickle=False) as stored:
            return [_stored_sample(stored, number) for number in range(len(stored["patient"]))]
    except _DAMAGED as error:
        raise InputError(path, f"is not a file of sample slices ({error})", "run `ldctpipe evaluate` again") from None


def _stored_sample(stored: Any, number: int) -> Sample:
    hu = stored[f"hu_{number:04d}"]
    position_mm, row_mm, column_mm = (
        float(value) for value in (stored["position_mm"][number], *stored["pixel_mm"][number])
    )
    if hu.dtype != np.int16 or hu.ndim != 3 or len(hu) != len(ROLES) or min(hu.shape[1:]) < _LEAST_SIDE:
        raise ValueError(f"sample {number} has the shape {hu.shape} and holds {hu.dtype}")
    if not (math.isfinite(position_mm) and 0 < row_mm < math.inf and 0 < column_mm < math.inf):
        raise ValueError(f"sample {number} lies nowhere")
    patient, series = str(stored["patient"][number]), str(stored["series"][number])
    return Sample(patient, series, position_mm, (row_mm, column_mm), hu)

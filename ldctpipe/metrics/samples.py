"""A few slices of each evaluated patient, kept so that the report can show pictures: `samples.npz`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ldctpipe.errors import InputError
from ldctpipe.files import new_file
from ldctpipe.metrics.matching import MatchedSeries

ROLES = ("low_dose", "denoised", "full_dose")
SLICES_PER_PATIENT = 4


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
    try:
        with np.load(path, allow_pickle=False) as stored:
            return [
                Sample(
                    str(stored["patient"][number]),
                    str(stored["series"][number]),
                    float(stored["position_mm"][number]),
                    (float(stored["pixel_mm"][number][0]), float(stored["pixel_mm"][number][1])),
                    stored[f"hu_{number:04d}"],
                )
                for number in range(len(stored["patient"]))
            ]
    except (ValueError, KeyError, EOFError, OSError) as error:
        raise InputError(path, f"is not a file of sample slices ({error})", "run `ldctpipe evaluate` again") from None

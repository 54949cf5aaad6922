"""A reduced-dose partner of a reconstructed volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ldctpipe import __version__
from ldctpipe.simulation.calibrated_scan import CalibratedScan, Overrides, calibrated_scan
from ldctpipe.simulation.exposure import DoseRange, Exposure, check_dose
from ldctpipe.simulation.field_of_view import SquareSlices, unmeasured
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.randomness import slice_seed
from ldctpipe.simulation.workers import each_slice
from ldctpipe.volumes.volume import HuArray, Volume

_LOWEST_STORED_HU = -1024
_HIGHEST_OF_12_BIT_HU = 3071


@dataclass(frozen=True)
class Reduction:
    """The volume at the lower dose, in the shape and dtype of the input, and a record of how it was made."""

    hu: HuArray
    record: dict[str, Any]


def reduce_dose(
    volume: Volume,
    dose: float,
    seed: int,
    *,
    quanta: float | None = None,
    electronic_ratio: float | None = None,
    cutoff_per_mm: float | None = None,
    views: int = 360,
    device: str = "cpu",
    threads: int | None = None,
    done: Callable[[int], None] = lambda slices: None,
) -> Reduction:
    """Return `volume` as it would look at `dose`, a share of its own dose in (0, 1].

    int16 HU stay int16 (rounded), float32 stay float32. Padding, pixels outside the scanner's field of view and NaN
    stay as they are; `dose` 1 gives the input back. `quanta`, `electronic_ratio` and `cutoff_per_mm` replace what is
    fitted, assumed and looked up. Memory needed beside the volume does not grow with its length. `done` is called with
    the number of slices finished since the last call.

    Raises `UsageError` for a dose outside (0, 1] or overrides that can't be, and what `calibrated_scan` raises.
    """
    check_dose(dose)
    overrides = Overrides(quanta, cutoff_per_mm, electronic_ratio)
    scan = calibrated_scan(volume, overrides, views=views, device=device, threads=threads)
    return reduced(scan, Exposure(dose), seed, threads=threads, done=done)


def reduced(
    scan: CalibratedScan,
    exposure: Exposure | DoseRange,
    seed: int,
    *,
    realisation: int = 0,
    threads: int | None = None,
    done: Callable[[int], None] = lambda slices: None,
) -> Reduction:
    """Return the volume of `scan` at a dose, or at doses drawn from a range; the same arguments give the same bytes.

    Several doses of one scan share its random numbers, as one patient under one tube would not; give another
    `realisation` for independent noise.
    """
    count = len(scan.volume.hu)
    exposures = [_exposure(exposure, seed, scan.volume.key, index, realisation) for index in range(count)]
    result: HuArray = scan.volume.hu.copy()
    squares = SquareSlices(scan.volume)

    def noise_of(index: int) -> tuple[npt.NDArray[np.float32], float] | None:
        if exposures[index].dose == 1.0:
            return None
        transmitted = scan.noise.transmitted(squares[index])
        noise, starved = scan.noise.added(transmitted, index, exposures[index], seed, realisation)
        return noise[squares.middle], starved

    starved = np.zeros(count)
    for index, made in enumerate(each_slice(noise_of, range(count), threads)):
        if made is not None:
            result[index] = _with_noise(result[index], made[0], unmeasured(scan.volume, index))
            starved[index] = made[1]
        done(1)
    return Reduction(result, _record(scan, exposure, exposures, seed, realisation, starved))


def _with_noise(hu: HuArray, noise: Image, nowhere: npt.NDArray[np.bool_]) -> HuArray:
    """Return one slice with noise, in the value range that its scanner stores; `nowhere` stays as it is."""
    measured = hu[~nowhere]
    if not measured.size:
        return hu
    lowest, highest = min(int(measured.min()), _LOWEST_STORED_HU), int(measured.max())
    highest = _HIGHEST_OF_12_BIT_HU if highest <= _HIGHEST_OF_12_BIT_HU else 32767
    noisy = np.where(nowhere, hu, np.clip(hu + noise, lowest, highest))
    return np.rint(noisy).astype(np.int16) if hu.dtype == np.int16 else noisy.astype(np.float32)


def _exposure(exposure: Exposure | DoseRange, seed: int, key: str, index: int, realisation: int) -> Exposure:
    return exposure if isinstance(exposure, Exposure) else exposure.draw(seed, key, index, realisation)


def _record(
    scan: CalibratedScan,
    exposure: Exposure | DoseRange,
    exposures: list[Exposure],
    seed: int,
    realisation: int,
    starved: npt.NDArray[np.float64],
) -> dict[str, Any]:
    return {
        "ldctpipe": __version__,
        **_doses(scan, exposure, exposures, seed, realisation),
        "seed": seed,
        "realisation": realisation,
        **scan.record(),
        "starved_fraction": round(float(starved.mean()), 6),
        "starved_fraction_worst_slice": round(float(starved.max()), 6),
        "warnings": list(scan.warnings),
    }


def _doses(
    scan: CalibratedScan, exposure: Exposure | DoseRange, exposures: list[Exposure], seed: int, realisation: int
) -> dict[str, Any]:
    """Return the dose, or the range with what was drawn from it: for the series, or a row for each slice."""
    if isinstance(exposure, Exposure):
        return {"dose": exposure.dose}
    model, key = scan.noise.model, scan.volume.key
    rows = [
        {
            "slice": index,
            "seed": slice_seed(seed, key, index if exposure.each_slice else -1, realisation),
            "dose": one.dose,
            "quanta": model.quanta * one.quanta_factor,
            "electronic_ratio": model.electronic_ratio if one.electronic_ratio is None else one.electronic_ratio,
            "kernel_cutoff_per_mm": model.cutoff_per_mm * one.cutoff_factor,
        }
        for index, one in enumerate(exposures)
    ]
    drawn = rows if exposure.each_slice else [{**rows[0], "slice": None}]
    return {
        "dose": exposures[0].dose if not exposure.each_slice else None,
        "dose_range": [exposure.lowest, exposure.highest],
        "varied": exposure.vary,
        "drawn": drawn,
    }

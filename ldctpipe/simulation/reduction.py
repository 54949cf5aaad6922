"""A reduced-dose partner of a reconstructed volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe import __version__
from ldctpipe.errors import InputError, UsageError
from ldctpipe.simulation.calibration import Calibration, fit_quanta
from ldctpipe.simulation.field_of_view import SquareSlices, touches_edge, unmeasured
from ldctpipe.simulation.flux import current_factors
from ldctpipe.simulation.kernels import Kernel, match_kernel
from ldctpipe.simulation.noise import DEFAULT_ELECTRONIC_RATIO, DEFAULT_QUANTA, NoiseModel, dose_noise
from ldctpipe.simulation.randomness import slice_deviates
from ldctpipe.simulation.workers import each_slice
from ldctpipe.volumes.volume import Acquisition, HuArray, Volume

_LOWEST_STORED_HU = -1024
_HIGHEST_OF_12_BIT_HU = 3071
_SAME_SPACING = 0.01
_HEAD_PARTS = ("HEAD", "BRAIN", "SKULL")


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
    electronic_ratio: float = DEFAULT_ELECTRONIC_RATIO,
    cutoff_per_mm: float | None = None,
    views: int = 360,
    device: str = "cpu",
    threads: int | None = None,
    done: Callable[[int], None] = lambda slices: None,
) -> Reduction:
    """Return `volume` as it would look at `dose`, a share of its own dose in (0, 1].

    int16 HU stay int16 (rounded), float32 stay float32. Padding, pixels outside the scanner's field of view and NaN
    stay as they are; `dose` 1 gives the input back. `quanta` and `cutoff_per_mm` replace what is fitted and looked
    up. Memory needed beside the volume does not grow with its length. `done` is called with the number of slices
    finished since the last call.

    Raises `UsageError` for a dose outside (0, 1] or quanta that are not positive, `InputError` for pixels that are
    not square.
    """
    _check(dose, quanta)
    kernel = _kernel(volume.acquisition, cutoff_per_mm)
    if dose == 1.0:
        done(len(volume.hu))
        return Reduction(volume.hu.copy(), {"dose": 1.0, "seed": seed, "ldctpipe": __version__, "warnings": []})
    current, modulated = _tube_current(volume)
    model = _model(volume, kernel, modulated, electronic_ratio, views, device)
    calibration = _calibration(volume, model, current, quanta, threads)
    model = model.with_quanta(calibration.quanta)
    hu, starved = _insert_noise(volume, model, dose, seed, current, threads, done)
    record = _record(dose, seed, kernel, model, calibration, modulated, starved)
    return Reduction(hu, {**record, "warnings": [*_warnings(volume, kernel, model), *calibration.warnings]})


def _check(dose: float, quanta: float | None) -> None:
    if not 0.0 < dose <= 1.0:
        raise UsageError(None, f"a dose of {dose:g} is not above 0 and at most 1", "give a share such as 0.25")
    if quanta is not None and not quanta > 0:
        raise UsageError(None, f"{quanta:g} quanta are not a positive number", "give a count such as 1.5e6")


def _kernel(acquisition: Acquisition, cutoff_per_mm: float | None) -> Kernel:
    kernel = match_kernel(acquisition.kernel)
    return kernel if cutoff_per_mm is None else replace(kernel, cutoff_per_mm=cutoff_per_mm, known=True)


def _tube_current(volume: Volume) -> tuple[npt.NDArray[np.float64], bool]:
    """Return the relative tube current of each slice, and whether the header shows that it was modulated."""
    for values in (volume.acquisition.tube_current_ma, volume.acquisition.exposure_mas):
        factors = current_factors(values, len(volume.hu))
        if np.ptp(factors) > 0.005:
            return factors, True
    return np.ones(len(volume.hu)), False


def _model(
    volume: Volume, kernel: Kernel, modulated: bool, electronic_ratio: float, views: int, device: str
) -> NoiseModel:
    _, row_mm, column_mm = volume.spacing_mm
    if abs(row_mm / column_mm - 1) > _SAME_SPACING:
        raise InputError(
            f"series {volume.key}", f"has pixels of {row_mm:g} × {column_mm:g} mm", "give slices with square pixels"
        )
    part = (volume.acquisition.body_part or "").upper()
    return NoiseModel(
        pixel_mm=float(column_mm),
        size=SquareSlices(volume).size,
        electronic_ratio=electronic_ratio,
        cutoff_per_mm=kernel.cutoff_per_mm,
        bow_tie="small" if any(name in part for name in _HEAD_PARTS) else "large",
        angular_modulation=1.0 if modulated else 0.0,
        views=views,
        device=device,
    )


def _calibration(
    volume: Volume, model: NoiseModel, current: npt.NDArray[np.float64], quanta: float | None, threads: int | None
) -> Calibration:
    if quanta is not None:
        return Calibration(quanta, None, None, 0, True, ())
    return fit_quanta(SquareSlices(volume), model.with_quanta(DEFAULT_QUANTA), current, volume.key, threads)


def _insert_noise(
    volume: Volume,
    model: NoiseModel,
    dose: float,
    seed: int,
    current: npt.NDArray[np.float64],
    threads: int | None,
    done: Callable[[int], None],
) -> tuple[HuArray, npt.NDArray[np.float64]]:
    result: HuArray = volume.hu.copy()
    squares = SquareSlices(volume)
    rows, columns = squares.middle
    deviates = slice_deviates(seed, volume.key, volume.positions_mm.tolist(), volume.acquisition.slice_thickness_mm)
    starved = np.zeros(len(result))

    def noise_of(index: int) -> tuple[npt.NDArray[np.float32], float]:
        hu = torch.from_numpy(squares[index][None]).to(model.device)
        noise = dose_noise(model.transmitted(hu), model, dose, deviates, [index], current)
        return noise.hu[0].cpu().numpy()[rows, columns], float(noise.starved_fraction[0])

    for index, (noise, share) in enumerate(each_slice(noise_of, range(len(result)), threads)):
        result[index] = _added(result[index], noise, unmeasured(volume, index))
        starved[index] = share
        done(1)
    return result, starved


def _added(hu: HuArray, noise: npt.NDArray[np.float32], nowhere: npt.NDArray[np.bool_]) -> HuArray:
    """Return one slice with noise, in the value range that its scanner stores."""
    measured = hu[~nowhere]
    if not measured.size:
        return hu
    lowest, highest = min(int(measured.min()), _LOWEST_STORED_HU), int(measured.max())
    highest = _HIGHEST_OF_12_BIT_HU if highest <= _HIGHEST_OF_12_BIT_HU else 32767
    noisy = np.where(nowhere, hu, np.clip(hu + noise, lowest, highest))
    return np.rint(noisy).astype(np.int16) if hu.dtype == np.int16 else noisy.astype(np.float32)


def _warnings(volume: Volume, kernel: Kernel, model: NoiseModel) -> list[str]:
    warnings = []
    if not kernel.known:
        warnings.append(
            f"kernel {kernel.name or 'without a name'} is not known; noise texture of a medium-soft one is used"
        )
    if kernel.iterative:
        warnings.append(
            f"kernel {kernel.name} means iterative or learned reconstruction, whose noise is not that of FBP"
        )
    middle = SquareSlices(volume)[len(volume.hu) // 2]
    if touches_edge(middle):
        warnings.append("the patient reaches beyond the field of view; what lies outside attenuates nothing here")
    return warnings


def _record(
    dose: float,
    seed: int,
    kernel: Kernel,
    model: NoiseModel,
    calibration: Calibration,
    modulated: bool,
    starved: npt.NDArray[np.float64],
) -> dict[str, Any]:
    source = "fitted" if calibration.windows else "given" if calibration.fitted else "default"
    return {
        "ldctpipe": __version__,
        "dose": dose,
        "seed": seed,
        "quanta": calibration.quanta,
        "quanta_source": source,
        "quanta_relative_uncertainty": calibration.uncertainty,
        "noise_of_input_hu": calibration.sd_hu,
        "electronic_ratio": model.electronic_ratio,
        "kernel": kernel.name,
        "kernel_known": kernel.known,
        "kernel_cutoff_per_mm": kernel.cutoff_per_mm,
        "bow_tie": model.bow_tie,
        "tube_current_modulation": modulated,
        "views": model.views,
        "starved_fraction": round(float(starved.mean()), 6),
        "starved_fraction_worst_slice": round(float(starved.max()), 6),
    }

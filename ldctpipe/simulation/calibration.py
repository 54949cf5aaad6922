"""How many quanta a series was made with, found from its own noise.

Noise of known quanta is simulated through the same patient and kernel, and compared with the noise that is there:
both are high-passed and measured in the same windows of soft tissue. The most frequent ratio counts, not the mean,
because vessels and edges add to some windows and nothing takes away from any (global noise level, Christianson 2015,
AJR 205:W93).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import torch

from ldctpipe.simulation.images import Image
from ldctpipe.simulation.noise import DEFAULT_QUANTA, NoiseModel, dose_noise
from ldctpipe.simulation.randomness import slice_deviates
from ldctpipe.simulation.workers import each_slice

SOFT_TISSUE_HU = (0.0, 120.0)
PLAUSIBLE_SD_HU = (2.0, 120.0)
PLAUSIBLE_QUANTA = (5e4, 3e7)

_HIGH_PASS_MM = 1.5
_WINDOW_MM = 12.0
_SMOOTHING_MM = 2.0
_EROSION_MM = 4.5
_REALISATIONS = 4
_SLICES_USED = 7
_FEWEST_WINDOWS = 25
_LEAST_UNCERTAINTY = 0.05


class SliceSource(Protocol):
    """Square slices in HU, float32, by index: an array, or something that makes them when asked."""

    def __len__(self) -> int:
        """Return the number of slices."""

    def __getitem__(self, index: int, /) -> Image:
        """Return one slice."""


@dataclass(frozen=True)
class Calibration:
    """Quanta of a series (units of `NoiseModel.quanta`) with their relative standard uncertainty.

    `sd_hu` is the noise in soft tissue that goes with them. `fitted` is False where the series gave no hold and the
    default stands in; then uncertainty and noise are None.
    """

    quanta: float
    uncertainty: float | None
    sd_hu: float | None
    windows: int
    fitted: bool
    warnings: tuple[str, ...]


def fit_quanta(
    hu: SliceSource, model: NoiseModel, current: npt.NDArray[np.float64], key: str, threads: int | None = None
) -> Calibration:
    """Return the calibration of a series `hu` (slices, size, size; padding set to air) under the kernel of `model`.

    `current` is the relative tube current of each slice; `key` seeds the simulated noise. One slice is enough.
    """

    def measure(index: int) -> _Measurement | None:
        return _measured(hu[index], model, float(current[index]), f"{key} {index}")

    made = [one for one in each_slice(measure, _chosen_slices(len(hu)), threads) if one]
    count = sum(len(one.series) for one in made)
    if count < _FEWEST_WINDOWS:
        return _default("found no soft tissue to measure noise in")
    ratios = np.concatenate([one.series for one in made])
    difference = _mode(ratios) - _mode(np.concatenate([one.trial for one in made]))
    spread = float(np.subtract(*np.percentile(ratios, [60, 15])))
    uncertainty = max(_LEAST_UNCERTAINTY, 2.0 * spread / math.sqrt(count / 4))
    sd_hu = float(np.mean([one.trial_sd_hu for one in made])) * math.exp(difference / 2)
    return _checked(sd_hu, model.quanta * math.exp(-difference), uncertainty, count)


@dataclass(frozen=True)
class _Measurement:
    """Noise power of one slice in its windows, as logarithms of ratios to what is predicted.

    `series` is that of the slice itself, `trial` that of one more simulated noise image, which should be 0 but for the
    scatter of small windows.
    """

    series: npt.NDArray[np.float64]
    trial: npt.NDArray[np.float64]
    trial_sd_hu: float


def _measured(hu: Image, model: NoiseModel, current: float, key: str) -> _Measurement | None:
    windows = _Windows.of(hu, model.pixel_mm)
    if not windows.places[0].size:
        return None
    *trials, another = _trial_noise(hu, model, current, key)
    predicted = np.mean([windows.power(trial) for trial in trials], axis=0)
    sd_hu = float(np.sqrt(np.mean([trial[windows.tissue].var() for trial in trials])))
    return _Measurement(np.log(windows.power(hu) / predicted), np.log(windows.power(another) / predicted), sd_hu)


def _checked(sd_hu: float, quanta: float, uncertainty: float, windows: int) -> Calibration:
    warnings = []
    low_hu, high_hu = PLAUSIBLE_SD_HU
    if not low_hu <= sd_hu <= high_hu:
        bounded_hu = min(max(sd_hu, low_hu), high_hu)
        warnings.append(f"noise of {sd_hu:.3g} HU in soft tissue is implausible; {bounded_hu:g} HU is taken")
        quanta, sd_hu = quanta * (sd_hu / bounded_hu) ** 2, bounded_hu
    low, high = PLAUSIBLE_QUANTA
    if not low <= quanta <= high:
        warnings.append(f"{quanta:.3g} effective quanta lie outside {low:g} to {high:g}")
    return Calibration(float(f"{quanta:.6g}"), round(uncertainty, 3), round(sd_hu, 2), windows, True, tuple(warnings))


def _default(reason: str) -> Calibration:
    text = f"{reason}, so {DEFAULT_QUANTA:g} effective quanta are assumed; give --quanta for another value"
    return Calibration(DEFAULT_QUANTA, None, None, 0, False, (text,))


def _chosen_slices(slices: int) -> Sequence[int]:
    return sorted({round(place) for place in np.linspace(0.1, 0.9, _SLICES_USED) * (slices - 1)})


def _trial_noise(hu: Image, model: NoiseModel, current: float, key: str) -> list[Image]:
    """Return realisations of the noise that `model` predicts for one slice."""
    transmitted = model.transmitted(torch.from_numpy(hu[None]).to(model.device))
    count = _REALISATIONS + 1
    deviates = slice_deviates(0, key, list(range(count)), None)
    noise = dose_noise(
        transmitted.expand(count, -1, -1),
        model,
        1.0,
        deviates,
        range(count),
        np.full(count, current),
        present_dose=None,
    )
    return list(noise.hu.cpu().numpy())


@dataclass(frozen=True)
class _Windows:
    """Windows of soft tissue in one slice: the tissue's pixels, and the centres of windows that hold little else."""

    tissue: npt.NDArray[np.bool_]
    share: Image
    places: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    pixel_mm: float

    @classmethod
    def of(cls, hu: Image, pixel_mm: float) -> _Windows:
        smooth = scipy.ndimage.gaussian_filter(hu, _SMOOTHING_MM / pixel_mm)
        soft = (smooth > SOFT_TISSUE_HU[0]) & (smooth < SOFT_TISSUE_HU[1])
        depth_mm = scipy.ndimage.distance_transform_edt(soft) * pixel_mm
        tissue = depth_mm > _EROSION_MM
        share = scipy.ndimage.uniform_filter(tissue.astype(np.float32), round(_WINDOW_MM / pixel_mm))
        step = max(1, round(_WINDOW_MM / pixel_mm / 2))
        grid = np.zeros_like(tissue)
        grid[step // 2 :: step, step // 2 :: step] = True
        rows, columns = np.nonzero(grid & (share > 0.7))
        return cls(tissue, share, (rows, columns), pixel_mm)

    def power(self, hu: Image) -> npt.NDArray[np.float64]:
        """Return the mean square of the high-passed image in each window."""
        rough = hu - scipy.ndimage.gaussian_filter(hu, _HIGH_PASS_MM / self.pixel_mm)
        square = np.where(self.tissue, rough, 0.0) ** 2
        mean = scipy.ndimage.uniform_filter(square, round(_WINDOW_MM / self.pixel_mm))
        return (mean[self.places] / self.share[self.places]).astype(np.float64) + 1e-9


def _mode(values: npt.NDArray[np.float64]) -> float:
    """Return the most frequent value: the peak of a kernel density."""
    low, high = np.percentile(values, [10, 60])
    bandwidth = max(0.08, 1.2 * (high - low) * len(values) ** -0.2)
    grid = np.linspace(values.min(), values.max(), 600)
    density = np.exp(-0.5 * ((grid[:, None] - values[None]) / bandwidth) ** 2).sum(axis=1)
    return float(grid[density.argmax()])

"""How many quanta a series was made with, and through which kernel, found from its own noise.

Noise of known quanta is simulated through the same patient, and compared with the noise that is there: first its
texture, which shows the kernel (`kernel_fit.py`), then its level, which shows the quanta. For the level both are high-
passed and measured in the same windows of soft tissue. The most frequent ratio counts, not the mean, because vessels
and edges add to some windows and nothing takes away from any (global noise level, Christianson 2015, AJR 205:W93).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import scipy.fft
import torch

from ldctpipe.simulation.images import Image
from ldctpipe.simulation.kernel_fit import FEWEST_WINDOWS, WINDOWS_MM, KernelFit, Spectra, fit_kernel, measured_spectra
from ldctpipe.simulation.kernels import Kernel, apodisation
from ldctpipe.simulation.noise import DEFAULT_QUANTA, NoiseModel, dose_noise
from ldctpipe.simulation.randomness import slice_deviates
from ldctpipe.simulation.tissue_windows import Tissue, Windows
from ldctpipe.simulation.workers import each_slice

PLAUSIBLE_SD_HU = (2.0, 120.0)
PLAUSIBLE_QUANTA = (5e4, 3e7)

_REALISATIONS = 4
_SLICES_USED = 7
_FEWEST_WINDOWS = 25
_ENOUGH_WINDOWS = 60  # for the kernel; with fewer, other even material is looked at, too
_LEAST_UNCERTAINTY = 0.05
_NO_KERNEL_PER_MM = 1e9


class SliceSource(Protocol):
    """Square slices in HU, float32, by index: an array, or something that makes them when asked."""

    def __len__(self) -> int:
        """Return the number of slices."""

    def __getitem__(self, index: int, /) -> Image:
        """Return one slice."""


@dataclass(frozen=True)
class Calibration:
    """Quanta of a series (units of `NoiseModel.quanta`) with their relative standard uncertainty, and its kernel.

    `sd_hu` is the noise in the measured `material` that goes with them. `source` is "fitted", "given" by the user, or
    "default" where the series gave no hold; only a fit has uncertainty, noise and material.
    """

    quanta: float
    uncertainty: float | None
    sd_hu: float | None
    windows: int
    source: Literal["fitted", "given", "default"]
    material: str | None
    kernel: KernelFit
    warnings: tuple[str, ...]


def calibrate(
    hu: SliceSource,
    model: NoiseModel,
    kernel: Kernel,
    current: npt.NDArray[np.float64],
    key: str,
    *,
    quanta: float | None = None,
    cutoff_per_mm: float | None = None,
    fitted: KernelFit | None = None,
    rounded: bool = True,
    threads: int | None = None,
) -> Calibration:
    """Return the calibration of a series `hu` (slices, size, size; padding set to air); one slice is enough.

    `kernel` is that of the header, `current` the relative tube current of each slice; `key` seeds the simulated noise.
    `quanta`, `cutoff_per_mm` and a kernel `fitted` before stand as they are. `rounded` says that HU are whole numbers.
    """
    given_kernel = fitted
    if cutoff_per_mm is not None:
        given_kernel = KernelFit(cutoff_per_mm, 0.0, 1.0, 0.0, None, 0, ())
    if quanta is not None and given_kernel is not None:
        return _given(quanta, given_kernel)
    bare = replace(model, cutoff_per_mm=_NO_KERNEL_PER_MM, edge_boost=0.0, quanta=DEFAULT_QUANTA, channels_per_pixel=1)
    trials, material = _trials(hu, bare, current, key, threads)
    fit = given_kernel or _fit_kernel(trials, kernel, model.pixel_mm, rounded)
    if quanta is not None:
        return _given(quanta, fit)
    return _fit_quanta(trials, fit, material, threads)


def _given(quanta: float, kernel: KernelFit) -> Calibration:
    return Calibration(quanta, None, None, 0, "given", None, kernel, kernel.warnings)


@dataclass(frozen=True)
class _Trial:
    """One slice with simulated noise of it that went through no kernel, and where both can be measured.

    `draw` makes the noise of another model.
    """

    hu: Image
    model: NoiseModel
    noise: Sequence[Image]
    windows: Windows
    draw: Callable[[NoiseModel], list[Image]]

    def filtered(self, kernel: KernelFit) -> list[Image]:
        """Return the simulated noise behind `kernel`; it is drawn anew where it folds back at the pixels' Nyquist."""
        model = kernel.applied(self.model)
        if model.channels_per_pixel > 1:
            return self.draw(model)
        rows, columns = self.hu.shape
        pixel_mm = self.windows.tissue.pixel_mm
        radius = np.hypot(scipy.fft.fftfreq(rows, pixel_mm)[:, None], scipy.fft.rfftfreq(columns, pixel_mm)[None])
        window = apodisation(torch.from_numpy(radius), kernel.cutoff_per_mm, kernel.edge_boost, kernel.window_power)
        gain = window.numpy().astype(np.float32)
        return [scipy.fft.irfft2(scipy.fft.rfft2(noise) * gain, s=self.hu.shape) for noise in self.noise]


def _trials(
    hu: SliceSource, model: NoiseModel, current: npt.NDArray[np.float64], key: str, threads: int | None
) -> tuple[list[_Trial], str | None]:
    """Return trials of some slices, and in what: soft tissue, or any even material where there is too little of it."""
    chosen = _calibration_slices(len(hu))
    places = [Tissue.soft(hu[index], model.pixel_mm).windows() for index in chosen]
    material = "soft tissue"
    if sum(map(len, places)) < _FEWEST_WINDOWS:
        places = [Tissue.uniform(hu[index], model.pixel_mm).windows() for index in chosen]
        material = "even material"
    if sum(map(len, places)) < _FEWEST_WINDOWS:
        return [], None

    def trial(item: tuple[int, Windows]) -> _Trial:
        index, windows = item

        def draw(model: NoiseModel) -> list[Image]:
            return _trial_noise(hu[index], model, float(current[index]), f"{key} {index}")

        return _Trial(hu[index], model, draw(model), windows, draw)

    useful = [(index, windows) for index, windows in zip(chosen, places, strict=True) if len(windows)]
    return list(each_slice(trial, useful, threads)), material


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


def _fit_kernel(trials: Sequence[_Trial], kernel: Kernel, pixel_mm: float, rounded: bool) -> KernelFit:
    spectra: list[Spectra] = []
    kinds = (lambda trial: trial.windows.tissue, _of(Tissue.uniform), _of(Tissue.air))
    for tissue_of, window_mm in itertools.product(kinds, WINDOWS_MM):
        made = [measured_spectra(trial.hu, trial.noise, tissue_of(trial), window_mm) for trial in trials]
        spectra = max(spectra, [one for one in made if one], key=_windows)
        if _windows(spectra) >= (_ENOUGH_WINDOWS if tissue_of is not kinds[1] else FEWEST_WINDOWS):
            break
    return fit_kernel(spectra, kernel, pixel_mm, rounded=rounded)


def _windows(spectra: Sequence[Spectra]) -> int:
    return sum(len(one.series) for one in spectra)


def _of(kind: Callable[[Image, float], Tissue]) -> Callable[[_Trial], Tissue]:
    return lambda trial: kind(trial.hu, trial.model.pixel_mm)


@dataclass(frozen=True)
class _Level:
    """Noise power of one slice in its windows, as logarithms of ratios to what is predicted.

    `series` is that of the slice itself, `trial` that of one more simulated noise image, which should be 0 but for the
    scatter of small windows.
    """

    series: npt.NDArray[np.float64]
    trial: npt.NDArray[np.float64]
    trial_sd_hu: float


def _level(trial: _Trial, kernel: KernelFit) -> _Level:
    *predictions, another = trial.filtered(kernel)
    power = trial.windows.power
    predicted = np.mean([power(prediction) for prediction in predictions], axis=0)
    inside = trial.windows.tissue.inside
    sd_hu = float(np.sqrt(np.mean([prediction[inside].var() for prediction in predictions])))
    return _Level(np.log(power(trial.hu) / predicted), np.log(power(another) / predicted), sd_hu)


def _fit_quanta(trials: Sequence[_Trial], kernel: KernelFit, material: str | None, threads: int | None) -> Calibration:
    if not trials:
        text = f"found no even tissue to measure noise in, so {DEFAULT_QUANTA:g} effective quanta are assumed; "
        doubts = (text + "give --quanta for another value", *kernel.warnings)
        return Calibration(DEFAULT_QUANTA, None, None, 0, "default", None, kernel, doubts)
    levels = list(each_slice(lambda trial: _level(trial, kernel), trials, threads))
    ratios = np.concatenate([one.series for one in levels])
    difference = _mode(ratios) - _mode(np.concatenate([one.trial for one in levels]))
    spread = float(np.subtract(*np.percentile(ratios, [60, 15])))
    uncertainty = max(_LEAST_UNCERTAINTY, 2.0 * spread / math.sqrt(len(ratios) / 4))
    sd_hu = float(np.mean([one.trial_sd_hu for one in levels])) * math.exp(difference / 2)
    quanta, bounded_hu, warnings = _checked(sd_hu, DEFAULT_QUANTA * math.exp(-difference))
    if material != "soft tissue":
        warnings.append("has no soft tissue, so its noise was measured in other even material")
    if len(trials) == 1:
        warnings.append(f"calibrated from one slice: its quanta are known to {100 * uncertainty:.0f} %")
    return Calibration(
        float(f"{quanta:.6g}"),
        round(uncertainty, 3),
        round(bounded_hu, 2),
        len(ratios),
        "fitted",
        material,
        kernel,
        (*warnings, *kernel.warnings),
    )


def _checked(sd_hu: float, quanta: float) -> tuple[float, float, list[str]]:
    warnings = []
    low_hu, high_hu = PLAUSIBLE_SD_HU
    bounded_hu = min(max(sd_hu, low_hu), high_hu)
    if bounded_hu != sd_hu:
        warnings.append(f"noise of {sd_hu:.3g} HU in soft tissue is implausible; {bounded_hu:g} HU is taken")
        quanta *= (sd_hu / bounded_hu) ** 2
    low, high = PLAUSIBLE_QUANTA
    if not low <= quanta <= high:
        warnings.append(f"{quanta:.3g} effective quanta lie outside {low:g} to {high:g}")
    return quanta, bounded_hu, warnings


def _calibration_slices(slices: int) -> Sequence[int]:
    return sorted({round(place) for place in np.linspace(0.1, 0.9, _SLICES_USED) * (slices - 1)})


def _mode(values: npt.NDArray[np.float64]) -> float:
    """Return the most frequent value: the peak of a kernel density."""
    low, high = np.percentile(values, [10, 60])
    bandwidth = max(0.08, 1.2 * (high - low) * len(values) ** -0.2)
    grid = np.linspace(values.min(), values.max(), 600)
    density = np.exp(-0.5 * ((grid[:, None] - values[None]) / bandwidth) ** 2).sum(axis=1)
    return float(grid[density.argmax()])

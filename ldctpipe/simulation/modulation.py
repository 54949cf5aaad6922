"""Tube current by slice where the header has none, from the noise of the slices and from what attenuates in them.

Exposure control raises the current where the patient is thick: with full strength all slices get the same noise,
without any the same current (Kalra 2004, Radiology 233:649). So the logarithm of the current is modeled as

    log m(z) = constant + strength · log V(z) + rest(z),

V(z) being the noise power in tissue that a constant current would give. What is measured in some slices fits strength
and rest (Gaussian process regression, Rasmussen and Williams 2006, eq. 2.23): measured noise decides where there is
much tissue, attenuation carries on where there is little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe.simulation.calibration import SliceSource
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.noise import NoiseModel
from ldctpipe.simulation.tissue_windows import Tissue, Windows
from ldctpipe.simulation.workers import each_slice

_MOST_SLICES = 24
_HIGH_PASS_PIXELS = 0.85
_HIGH_PASS_MM = 0.6  # finer than for calibration: slices differ in anatomy, and share the kernel
_FEWEST_SLICES = 3
_FEWEST_WINDOWS = 8
_STRENGTH, _STRENGTH_SD = 0.5, 0.5
_REST_SD = 0.15
_REST_LENGTH_MM = 30.0
_CONSTANT_SD = 3.0
_LEAST_ERROR = 0.08  # vessels and edges in the windows of one slice
_FRAME_OVERLAP = 4.0  # half overlapping windows tell as much as a quarter of their number
_QUANTILE = 0.35
_TISSUE_HU = (-200.0, 200.0)

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SliceLevel:
    """What one slice says: noise power at a constant current, and the measured one over it, as logarithms.

    `error` is the standard error of `measured`; it is infinite where too little tissue is even.
    """

    predicted: float
    measured: float
    error: float


def current_from_noise(
    slices: SliceSource, positions_mm: _Values, model: NoiseModel, threads: int | None = None
) -> _Values | None:
    """Return the relative tube current of each slice (mean 1); None where too few slices show their noise.

    `slices` are square HU images at `positions_mm`; `model` is calibrated with a constant current.
    """
    chosen = sorted({round(place) for place in np.linspace(0, len(slices) - 1, min(_MOST_SLICES, len(slices)))})
    levels = list(each_slice(lambda index: slice_level(slices[index], model), chosen, threads))
    if sum(np.isfinite(level.error) for level in levels) < _FEWEST_SLICES:
        return None
    logarithm = smoothed_current(positions_mm[chosen], levels)
    current: _Values = np.exp(np.interp(positions_mm, positions_mm[chosen], logarithm))
    return current / current.mean()


def slice_level(hu: Image, model: NoiseModel) -> SliceLevel:
    """Return the noise level of one slice against what `model` predicts without drawing it."""
    transmitted = model.transmitted(torch.from_numpy(hu[None]).to(model.device))[0]
    high_pass_mm = max(_HIGH_PASS_MM, _HIGH_PASS_PIXELS * model.pixel_mm)
    power = model.sd_map(transmitted, high_pass_mm=high_pass_mm).cpu().numpy() ** 2
    patient = (hu > _TISSUE_HU[0]) & (hu < _TISSUE_HU[1])
    predicted = float(np.log(power[patient].mean())) if patient.any() else float(np.log(power.mean()))
    windows = _windows(hu, model.pixel_mm)
    if len(windows) < _FEWEST_WINDOWS:
        return SliceLevel(predicted, 0.0, float("inf"))
    ratios = np.log(windows.power(hu, high_pass_mm) / windows.mean(power))
    spread = float(np.subtract(*np.quantile(ratios, [0.5, 0.16])))
    error = float(np.hypot(_LEAST_ERROR, 1.3 * spread / np.sqrt(len(ratios) / _FRAME_OVERLAP)))
    # the median of a normal distribution lies 0.385 standard deviations above this quantile
    return SliceLevel(predicted, float(np.quantile(ratios, _QUANTILE)) + 0.385 * spread, error)


def _windows(hu: Image, pixel_mm: float) -> Windows:
    soft = Tissue.soft(hu, pixel_mm).windows()
    return soft if len(soft) >= _FEWEST_WINDOWS else Tissue.uniform(hu, pixel_mm).windows()


def smoothed_current(positions_mm: _Values, levels: Sequence[SliceLevel]) -> _Values:
    """Return the logarithm of the current at the slices of `levels`: the posterior mean of the model above."""
    predicted = np.array([level.predicted for level in levels])
    shown = np.array([np.isfinite(level.error) for level in levels])
    thickness = predicted - predicted[shown].mean()
    apart_mm = np.abs(positions_mm[:, None] - positions_mm[None])
    covariance = (
        _CONSTANT_SD**2
        + _STRENGTH_SD**2 * np.outer(thickness, thickness)
        + _REST_SD**2 * np.exp(-0.5 * (apart_mm / _REST_LENGTH_MM) ** 2)
    )
    errors = np.array([level.error for level in levels])[shown]
    wanted = -np.array([level.measured for level in levels])[shown]
    inner = covariance[np.ix_(shown, shown)] + np.diag(errors**2)
    surprise = np.linalg.solve(inner, wanted - _STRENGTH * thickness[shown])
    logarithm: _Values = _STRENGTH * thickness + covariance[:, shown] @ surprise
    return logarithm

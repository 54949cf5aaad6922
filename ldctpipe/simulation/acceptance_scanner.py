"""Acceptance tests against a scanner: mean frequency, mean by tissue, and noise by slice under exposure control.

The references are closed forms: f · A(f)² with what folds back at the pixels' Nyquist frequency, and the variance of
filtered back-projection from the chords of ellipses and discs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.fft
import torch

from ldctpipe.simulation.acceptance_bench import Bench, Check, Values, hann, percent
from ldctpipe.simulation.calibrated_scan import calibrated_scan
from ldctpipe.simulation.exposure import Exposure
from ldctpipe.simulation.flux import WATER_PER_MM
from ldctpipe.simulation.kernels import highest_per_mm, match_kernel
from ldctpipe.simulation.noise import NoiseModel, dose_noise
from ldctpipe.simulation.noise_frequency import RadialPower
from ldctpipe.simulation.radial_spectrum import hann_taper
from ldctpipe.simulation.randomness import slice_deviates
from ldctpipe.simulation.reduction import reduced
from ldctpipe.volumes.volume import Acquisition, Volume

_KERNELS = ("B20f", "B30f", "B40f", "B50f", "D45f", "SOFT", "FC10", "C")
_PIXELS_MM = (0.5, 0.7, 0.9)
_SIDE, _WINDOW = 128, 48
_DOSE = 0.25
_EXPOSURE_CONTROL = 0.7  # strength: 1 gives all slices the same noise, 0 the same current
_WIDTHS_MM = (125, 125, 130, 150, 200, 280, 310, 310, 310, 305, 300, 300)  # neck, shoulders, chest
_DEPTHS_MM = (120, 120, 125, 130, 130, 130, 130, 140, 160, 180, 190, 190)
_ARMS = (5, 8)  # slices that hold the bones of the upper arms
_ARM_MM, _BONE_MM, _BONE_HU = 110.0, 12.0, 900.0
_CENTRE_MM = 30.0
_LEAST_SIZE = 256
_RAY_QUANTA = 5e4  # behind a wide body some rays starve at a quarter


def mean_frequency(bench: Bench) -> Check:
    """V16: mean frequency of added noise against f · A(f)², 8 kernels, pixels of 0.5, 0.7, 0.9 mm, within 5 %."""
    ratios = {}
    for pixel_mm in _PIXELS_MM:
        for name in _KERNELS:
            cutoff_per_mm = match_kernel(name).cutoff_per_mm
            model = NoiseModel(pixel_mm, _SIDE, 1e6, cutoff_per_mm=cutoff_per_mm, bow_tie="none", views=90).sampled()
            small = replace(bench, size=_SIDE, field_mm=_SIDE * pixel_mm)
            noise = small.noise(model, small.water(0.95 * small.field_mm), _DOSE, present_dose=1.0, slices=16)
            window = small.middle(noise, _WINDOW * pixel_mm)
            measured = RadialPower.of(window, pixel_mm).mean_frequency_per_mm()
            ratios[name, pixel_mm] = measured / expected_frequency_per_mm(cutoff_per_mm, pixel_mm, _WINDOW)
    worst = max(ratios, key=lambda place: abs(ratios[place] - 1))
    values = list(ratios.values())
    said = f"{percent(min(values))} to {percent(max(values))} (worst {worst[0]} at {worst[1]:g} mm)"
    passed = all(abs(ratio - 1) < 0.05 for ratio in values)
    title = "mean frequency of added noise over that of f · A(f)², 8 kernels, 3 pixel sizes"
    return Check("V16", title, said, "±5 %", passed)


def expected_frequency_per_mm(cutoff_per_mm: float, pixel_mm: float, side: int) -> float:
    """Return the centroid of f · A(f)² with a Hann window, folded, as `RadialPower` sees it in windows of `side`."""
    fine = 8 * side
    line = np.fft.fftfreq(fine, pixel_mm)
    power = np.zeros((fine, fine))
    for across in (-1, 0, 1):
        for down in (-1, 0, 1):
            radius = np.hypot(line[None] + across / pixel_mm, line[:, None] + down / pixel_mm)
            ends = radius <= min(highest_per_mm(pixel_mm), 1 / pixel_mm)
            power += np.where(ends, radius * hann(radius, cutoff_per_mm) ** 2, 0.0)
    taper = np.zeros((fine, fine))
    taper[:side, :side] = hann_taper(side)
    overlap = scipy.fft.ifft2(np.abs(scipy.fft.fft2(taper)) ** 2).real
    seen = scipy.fft.fft2(scipy.fft.ifft2(power) * overlap).real[::8, ::8]
    return RadialPower.of_spectra(seen[None], pixel_mm).mean_frequency_per_mm()


def mean_by_tissue(bench: Bench) -> Check:
    """V17: mean HU change of each tissue in a body with starved rays, below 0.3 HU; clipped air is only reported."""
    model = bench.model(1.0, electronic_ratio=7e-5)
    model = model.with_quanta(_RAY_QUANTA / model.ray_quanta)
    truth = bench.body(0.9 * bench.field_mm, 0.5 * bench.field_mm)[0]
    line = bench.line_mm() / bench.field_mm
    tissues = {"lung": -700.0, "fat": -100.0, "bone": 900.0}
    inside = {"soft": (truth > -10) & (truth < 10), "air": truth < -900}
    for (name, hu), place in zip(tissues.items(), (-0.25, 0.0, 0.25), strict=True):
        disc = (line[None] - place) ** 2 + line[:, None] ** 2 < 0.08**2
        truth[disc] = hu
        inside[name], inside["soft"] = disc, inside["soft"] & ~disc
    noise = bench.noise(model, truth[None], _DOSE, present_dose=1.0, slices=120 if bench.size < 256 else 32, seed=4)
    low = np.rint(np.clip(truth.numpy() + noise, -1024, 3071))
    change = {name: float((low - truth.numpy())[:, where.numpy()].mean()) for name, where in inside.items()}
    starved = float((model.ray_quanta * _DOSE * model.transmitted(truth[None]) < 100).float().mean())
    said = ", ".join(f"{name} {value:+.2f}" for name, value in change.items()) + f" HU; {100 * starved:.0f} % starved"
    passed = all(abs(value) < 0.3 for name, value in change.items() if name != "air")
    return Check("V17", "mean HU change by tissue; air is clipped at −1024 HU", said, "< 0.3 HU, air free", passed)


def noise_by_slice(bench: Bench) -> Check:
    """V18: noise by slice from neck to chest under exposure control that the header hides, closed form, within 10 %."""
    bench = replace(bench, size=max(bench.size, _LEAST_SIZE))  # calibration needs pixels that resolve noise grains
    model = replace(bench.model(1.5e5), cutoff_per_mm=0.775, bow_tie="large")
    bodies = [_slice_of_torso(bench, index) for index in range(len(_WIDTHS_MM))]
    control = np.exp(
        _EXPOSURE_CONTROL * 0.5 * np.log([_central_variance(model, index) for index in range(len(bodies))])
    )
    current = control / control.mean()
    scan = calibrated_scan(_scanned(bench, model, bodies, current), views=bench.views)
    realisations = range(8)
    low = np.stack([reduced(scan, Exposure(_DOSE), 3, realisation=number).hu for number in realisations])
    added = bench.middle(low.astype(np.float32) - scan.volume.hu.astype(np.float32), _CENTRE_MM)
    ratios = []
    for index in range(len(bodies)):
        variance = (1 / _DOSE - 1) * _central_variance(model, index) / current[index]
        ratios.append(float(added[:, index].std()) / math.sqrt(variance))
    said = (
        f"{percent(min(ratios))} to {percent(max(ratios))} for currents of {current.min():.2f} to {current.max():.2f}"
    )
    passed = scan.current_source == "noise" and all(abs(ratio - 1) < 0.1 for ratio in ratios)
    title = "noise by slice, neck to shoulders to chest, current not in the header"
    return Check("V18", title, said, "±10 %", passed)


def _slice_of_torso(bench: Bench, index: int) -> torch.Tensor:
    image = bench.body(_WIDTHS_MM[index], _DEPTHS_MM[index])[0] + 0.0
    image[image > -500] = 50.0
    line = bench.line_mm()
    for side in (-1, 1) if _ARMS[0] <= index < _ARMS[1] else ():
        image[(line[None] - side * _ARM_MM) ** 2 + line[:, None] ** 2 < _BONE_MM**2] = _BONE_HU
    return image


def _central_variance(model: NoiseModel, index: int) -> float:
    """Return the noise power in HU² in the middle of a slice at relative current 1, by chords through the middle."""
    angles = (np.arange(720) + 0.5) * math.pi / 720
    half_width, half_depth = _WIDTHS_MM[index] / 2, _DEPTHS_MM[index] / 2
    chord_mm = 2 / np.hypot(np.cos(angles) / half_width, np.sin(angles) / half_depth)
    attenuation = WATER_PER_MM * 1.05 * chord_mm
    if _ARMS[0] <= index < _ARMS[1]:
        across_mm = np.minimum(_ARM_MM * np.abs(np.sin(angles)), _BONE_MM)
        attenuation += WATER_PER_MM * (_BONE_HU - 50.0) / 1000 * 2 * 2 * np.sqrt(_BONE_MM**2 - across_mm**2)
    nyquist = 0.5 / model.pixel_mm
    f = np.linspace(0, nyquist, 4001)
    eta = 3 / nyquist**3 * np.trapezoid(f**2 * hann(f, model.cutoff_per_mm) ** 2, f)
    variance = float(np.exp(attenuation).mean()) / model.ray_quanta
    return float((1000 / WATER_PER_MM * math.pi / model.pixel_mm) ** 2 * variance * eta / (12 * model.views))


def _scanned(bench: Bench, model: NoiseModel, bodies: Sequence[torch.Tensor], current: Values) -> Volume:
    """Return the bodies with the noise of `current`, in slices that touch, without the current in the header."""
    positions_mm: Values = np.arange(len(bodies), dtype=np.float64) * 5.0
    deviates = slice_deviates(12, "torso", positions_mm.tolist(), 5.0)
    hu = torch.stack(list(bodies))
    noise = dose_noise(model.transmitted(hu), model, 1.0, deviates, range(len(bodies)), current, present_dose=None)
    affine = np.diag([-bench.pixel_mm, -bench.pixel_mm, 5.0, 1.0])
    stored = np.rint(hu.numpy() + noise.hu.numpy()).astype(np.int16)
    acquisition = Acquisition(kernel="B30f", slice_thickness_mm=5.0)
    return Volume(stored, affine, positions_mm, acquisition=acquisition, key="torso")

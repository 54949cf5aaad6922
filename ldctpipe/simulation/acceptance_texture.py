"""Acceptance tests of the noise's texture: spectrum, direction, correlation between slices, map over the patient."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from ldctpipe.simulation.acceptance_bench import Bench, Check, Noise, hann, percent, power_spectrum
from ldctpipe.simulation.noise import dose_noise
from ldctpipe.simulation.randomness import slice_deviates

_LOWEST_PER_MM = 0.1


def spectrum_of_kernel(bench: Bench) -> Check:
    """V6: the radial noise power spectrum over f · A(f)², scaled once, is even within 10 % above 0.1/mm."""
    model = bench.model(1.5e7, cutoff_per_mm=0.7)
    window = bench.middle(bench.noise(model, bench.water(), 1.0), bench.field_mm / 4 * 1.9)
    side = window.shape[-1]
    power = power_spectrum(window)
    line = np.fft.fftfreq(side, bench.pixel_mm)
    frequency = np.hypot(line[:, None], line[None]).ravel()
    lowest, highest = bench.kernel(_LOWEST_PER_MM), 0.8 * bench.kernel(0.7)
    edges = np.arange(lowest, highest, max(1.5 / (side * bench.pixel_mm), (highest - lowest) / 12))
    bins = np.digitize(frequency, edges)
    numbers = range(1, len(edges))
    expected = frequency * hann(frequency, model.cutoff_per_mm) ** 2
    ratio = np.array([power.ravel()[bins == b].mean() / expected[bins == b].mean() for b in numbers])
    ratio /= np.median(ratio)
    middle = np.array([frequency[bins == b].mean() for b in numbers])
    curve = {"frequency_per_mm": middle, "ratio": ratio, "shape": middle * hann(middle, model.cutoff_per_mm) ** 2}
    said = f"{ratio.min():.2f} to {ratio.max():.2f} in {len(ratio)} bins"
    passed = bool(np.abs(ratio - 1).max() < 0.1)
    return Check("V6", "noise power spectrum over f · A(f)²", said, "each bin ±10 %", passed, {"spectrum": curve})


def direction_of_streaks(bench: Bench) -> Check:
    """V7: power along x over power along y: below 0.5 in a wide body, 0.9 to 1.1 in round water."""
    model = bench.model(1.5e6)
    wide = _anisotropy(bench, bench.noise(model, bench.body(0.96 * bench.field_mm, 0.45 * bench.field_mm), 1.0))
    round_ = _anisotropy(bench, bench.noise(model, bench.water(260.0), 1.0))
    passed = wide < 0.5 and 0.9 < round_ < 1.1
    said = f"wide {wide:.2f}, round {round_:.2f}"
    return Check("V7", "noise power along x over y in the middle", said, "wide < 0.5, round 0.9–1.1", passed)


def _anisotropy(bench: Bench, noise: Noise) -> float:
    window = bench.middle(noise, bench.field_mm / 4)
    power = power_spectrum(window)
    across, down = np.abs(np.meshgrid(np.fft.fftfreq(window.shape[-1]), np.fft.fftfreq(window.shape[-1])))
    return float(power[across > 2 * down].mean() / power[down > 2 * across].mean())


def correlation_along_z(bench: Bench) -> Check:
    """V12: slices of 3 mm every 2 mm correlate by 1/3 ± 0.03 and no further; 1 mm over 3 mm has √3 the noise ± 3 %."""
    model, water = bench.model(1.5e6), bench.water()
    count = 24
    deviates = slice_deviates(5, "along z", [2.0 * index for index in range(count)], 3.0)
    flux = model.transmitted(water).expand(count, -1, -1)
    slices = dose_noise(flux, model, 1.0, deviates, range(count), np.ones(count), present_dose=None).hu.numpy()
    parts = bench.middle(slices, 120.0)
    near, far = _correlation(parts[:-1], parts[1:]), _correlation(parts[:-2], parts[2:])
    thin = replace(model, quanta=model.quanta / 3)  # a third of the thickness collects a third of the quanta
    ratio = bench.centre_sd(bench.noise(thin, water, 1.0, seed=2)) / bench.centre_sd(bench.noise(model, water, 1.0))
    passed = abs(near - 1 / 3) < 0.03 and abs(far) < 0.03 and abs(ratio / math.sqrt(3) - 1) < 0.03
    said = f"{near:.3f} between neighbours, {far:.3f} beyond; 1 mm {percent(ratio / math.sqrt(3))} of √3"
    return Check("V12", "correlation of slices of 3 mm every 2 mm", said, "0.333 ± 0.03, 0 ± 0.03; ±3 %", passed)


def _correlation(first: Noise, second: Noise) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def seeds_and_map(bench: Bench) -> Check:
    """V11: two seeds correlate by less than 0.03; over 64 seeds the map of noise is the predicted one within 5 %."""
    model, body = bench.model(1.5e6), bench.body(0.9 * bench.field_mm, 0.65 * bench.field_mm)
    one, other = (bench.noise(model, body, 1.0, seed=seed, slices=16) for seed in (1, 2))
    between = _correlation(one, other)
    measured = bench.noise(model, body, 1.0, seed=3, slices=64).std(axis=0)
    predicted = model.sd_map(model.transmitted(body)[0]).numpy()
    line = bench.line_mm()
    inside = ((line[None] ** 2 + line[:, None] ** 2) < (0.45 * bench.field_mm) ** 2).numpy()
    rows, columns = np.nonzero(inside)
    eighth = np.digitize(predicted[inside], np.quantile(predicted[inside], np.linspace(0, 1, 9)[1:-1]))
    parts = [
        float(
            np.sqrt((measured[rows, columns][eighth == k] ** 2).mean() / (predicted[inside][eighth == k] ** 2).mean())
        )
        for k in range(8)
    ]
    passed = abs(between) < 0.03 and all(abs(part - 1) < 0.05 for part in parts)
    said = f"{between:+.3f}; map {percent(min(parts))} to {percent(max(parts))} over its eighths"
    maps = {"measured_hu": measured, "predicted_hu": predicted}
    return Check("V11", "two seeds; noise map over 64 seeds", said, "|r| < 0.03; map ±5 %", passed, {"maps": maps})


def starvation(bench: Bench) -> Check:
    """V9: shoulders at a fiftieth of the dose: finite, below 500 HU in the middle, starved rays counted."""
    wide = replace(bench, field_mm=520.0)
    model = wide.model(1.5e6, electronic_ratio=7e-5)
    deviates = slice_deviates(1, "acceptance", [0.0], None)
    added = dose_noise(model.transmitted(wide.shoulders()), model, 0.02, deviates, [0], np.ones(1))
    sd_hu, starved = wide.centre_sd(added.hu.numpy()), float(added.starved_fraction[0])
    passed = bool(torch.isfinite(added.hu).all()) and sd_hu < 500.0 and 0.0 < starved < 1.0
    said = f"{sd_hu:.0f} HU, {100 * starved:.0f} % of rays starved"
    return Check("V9", "shoulders at 2 % of the dose", said, "finite, < 500 HU, starved rays counted", passed)

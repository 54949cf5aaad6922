"""Acceptance tests of the noise's level: closed form, growth with falling dose, agreement of ways to get there."""

from __future__ import annotations

import math

import numpy as np
import torch

from ldctpipe.simulation.acceptance_bench import Bench, Check, hann, percent
from ldctpipe.simulation.flux import WATER_PER_MM
from ldctpipe.simulation.noise import NoiseModel

_WATER_MM = 300.0
_QUANTA = 1.5e7
_DOSES = (0.5, 0.25, 0.1)


def closed_form(bench: Bench) -> Check:
    """V1: noise in the middle of 30 cm of water against its closed form, three kernels, within 3 %."""
    ratios = {}
    for name, cutoff_per_mm in (("ramp", 1e6), ("B30", 0.775), ("D45", 1.87)):
        model = bench.model(1.5e6, cutoff_per_mm=cutoff_per_mm)
        measured_hu = bench.centre_sd(bench.noise(model, bench.water(_WATER_MM), 1.0), width_mm=26.0)
        ratios[name] = measured_hu / _expected_sd_hu(model)
    said = ", ".join(f"{name} {percent(ratio)}" for name, ratio in ratios.items())
    passed = all(abs(ratio - 1) < 0.03 for ratio in ratios.values())
    return Check("V1", "noise in 30 cm of water against its closed form", said, "±3 %", passed, {"ratios": ratios})


def _expected_sd_hu(model: NoiseModel) -> float:
    variance = math.exp(WATER_PER_MM * _WATER_MM) / model.ray_quanta
    nyquist = 0.5 / model.pixel_mm
    f = np.linspace(0, nyquist, 4001)
    eta = 3 / nyquist**3 * np.trapezoid(f**2 * hann(f, model.cutoff_per_mm) ** 2, f)
    return 1000 / WATER_PER_MM * math.pi * math.sqrt(variance * eta / (12 * model.views)) / model.pixel_mm


def growth_of_quantum_noise(bench: Bench) -> Check:
    """V2: without electronic noise, standard deviation ∝ 1/√dose within 2 %."""
    model = bench.model(10 * _QUANTA)
    full_hu = bench.centre_sd(bench.noise(model, bench.water(_WATER_MM), 1.0))
    water = bench.water(_WATER_MM)
    sd_hu = {
        dose: bench.centre_sd(bench.noise(model, water, dose, seed=seed)) for seed, dose in enumerate(_DOSES, start=2)
    }
    ratios = {dose: value / full_hu * math.sqrt(dose) for dose, value in sd_hu.items()}
    curve = [(1.0, full_hu, full_hu), *((dose, value, full_hu / math.sqrt(dose)) for dose, value in sd_hu.items())]
    return _ratios("V2", "quantum noise grows as 1/√dose", ratios, 0.02, {"sd_against_dose": curve})


def growth_with_electronic_noise(bench: Bench) -> Check:
    """V3: with electronic noise faster than 1/√dose, as √((1/a + k/a²)/(1 + k)), within 3 %."""
    model = bench.model(_QUANTA, electronic_ratio=2e-3)
    share = model.electronic_variance / (model.ray_quanta * math.exp(-WATER_PER_MM * _WATER_MM))
    full_hu = bench.centre_sd(bench.noise(model, bench.water(_WATER_MM), 1.0))
    ratios, excess, curve = {}, {}, [(1.0, full_hu, full_hu)]
    for seed, dose in ((2, 0.5), (3, 0.25)):
        theory = math.sqrt((1 / dose + share / dose**2) / (1 + share))
        sd_hu = bench.centre_sd(bench.noise(model, bench.water(_WATER_MM), dose, seed=seed))
        ratios[dose], excess[dose] = sd_hu / full_hu / theory, sd_hu / full_hu * math.sqrt(dose)
        curve.append((dose, sd_hu, full_hu * theory))
    check = _ratios("V3", "electronic noise grows faster", ratios, 0.03, {"sd_against_dose": curve})
    faster = excess[0.25] > 1.1
    return Check(
        check.name,
        check.title,
        f"{check.measured}; {excess[0.25]:.2f} × 1/√dose at 0.25",
        "±3 %, and not 1/√dose",
        check.passed and faster,
        check.curves,
    )


def insertion_equals_scan(bench: Bench) -> Check:
    """V4: full dose + added noise has the noise of a scan at the lower dose, within 2 %."""
    model, water = bench.model(_QUANTA, electronic_ratio=5e-4), bench.water(_WATER_MM)
    full = bench.noise(model, water, 1.0, seed=1)
    ratios = {}
    for dose in (0.5, 0.25):
        both = full + bench.noise(model, water, dose, present_dose=1.0, seed=2)
        ratios[dose] = bench.centre_sd(both) / bench.centre_sd(bench.noise(model, water, dose, seed=3))
    return _ratios("V4", "full dose + added noise = scan at the lower dose", ratios, 0.02)


def attenuation_from_noisy_image(bench: Bench) -> Check:
    """V5: line integrals of the noisy full-dose image instead of the truth change the noise by less than 2 %."""
    model, water = bench.model(_QUANTA, electronic_ratio=5e-4), bench.water(_WATER_MM)
    seen = water + torch.from_numpy(bench.noise(model, water, 1.0, seed=1, slices=1))
    noisy = bench.centre_sd(bench.noise(model, seen, 0.25, present_dose=1.0, seed=2))
    ratio = noisy / bench.centre_sd(bench.noise(model, water, 0.25, present_dose=1.0, seed=2))
    return _ratios("V5", "attenuation from the noisy image instead of the truth", {0.25: ratio}, 0.02)


def doses_compose(bench: Bench) -> Check:
    """V13: 1 → 0.5 → 0.25 has the variance of 1 → 0.25 within 2 %."""
    model, water = bench.model(_QUANTA, electronic_ratio=5e-4), bench.water(_WATER_MM)
    steps = bench.noise(model, water, 0.5, present_dose=1.0, seed=1)
    steps = steps + bench.noise(model, water, 0.25, present_dose=0.5, seed=2)
    ratio = bench.centre_sd(steps) / bench.centre_sd(bench.noise(model, water, 0.25, present_dose=1.0, seed=3))
    return _ratios("V13", "1 → 0.5 → 0.25 = 1 → 0.25", {0.25: ratio}, 0.02)


def no_bias(bench: Bench) -> Check:
    """V8: the mean in an even region changes by less than 0.3 HU and 3 SE, doses 0.5 and 0.25, 16 seeds."""
    model, water = bench.model(_QUANTA / 10, electronic_ratio=7e-5), bench.water(_WATER_MM)
    means, within = {}, []
    for dose in (0.5, 0.25):
        added = bench.noise(model, water, dose, present_dose=1.0, slices=16)
        each = bench.middle(added, 120.0).mean(axis=(1, 2))
        means[dose] = float(each.mean())
        within.append(abs(means[dose]) < min(0.3, 3 * max(0.05, float(each.std(ddof=1)) / math.sqrt(len(each)))))
    said = ", ".join(f"{mean:+.2f} HU at {dose:g}" for dose, mean in means.items())
    return Check("V8", "mean HU change in an even region, 16 seeds", said, "< 0.3 HU and < 3 SE", all(within))


def _ratios(
    name: str, title: str, ratios: dict[float, float], limit: float, curves: dict[str, object] | None = None
) -> Check:
    said = ", ".join(f"{percent(ratio)} at {dose:g}" for dose, ratio in ratios.items())
    passed = all(abs(ratio - 1) < limit for ratio in ratios.values())
    return Check(name, title, said, f"±{100 * limit:g} %", passed, curves or {})

"""Mean frequency of noise, on noise whose spectrum is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ldctpipe.simulation.noise_frequency import RadialPower, compared_frequencies
from ldctpipe.simulation.tissue_windows import Tissue

PIXEL_MM, SIDE = 0.7, 48


def _noise(count: int, amplitude: object, size: int = 256) -> np.ndarray:
    """Return Gaussian noise whose spectrum has `amplitude` (a function of cycles per mm), (count, size, size)."""
    line = np.fft.fftfreq(size, PIXEL_MM)
    filtered = amplitude(np.hypot(line[:, None], line[None]))  # type: ignore[operator]
    white = np.random.default_rng(3).normal(0, 10, (count, size, size))
    return np.fft.ifft2(np.fft.fft2(white) * filtered).real.astype(np.float32)


def test_white_noise_has_half_the_nyquist_frequency() -> None:
    power = RadialPower.of(_noise(30, np.ones_like)[:, :128, :128], PIXEL_MM)

    assert power.mean_frequency_per_mm() == pytest.approx(0.5 / PIXEL_MM / 2, rel=0.03)
    assert power.power.mean() == pytest.approx(100.0, rel=0.05)


def test_ramp_noise_behind_a_gaussian_has_its_closed_form() -> None:
    half_per_mm = 0.25  # f exp(−2 ln2 f²/h²): centroid √π/2 · h/√(2 ln2)
    noise = _noise(30, lambda f: np.sqrt(f) * np.exp(-math.log(2) * (f / half_per_mm) ** 2))

    power = RadialPower.of(noise[:, :128, :128], PIXEL_MM)

    wanted = math.sqrt(math.pi) / 2 * half_per_mm / math.sqrt(2 * math.log(2))
    assert power.mean_frequency_per_mm() == pytest.approx(wanted, rel=0.03)


def test_rounding_is_taken_away() -> None:
    noise = _noise(40, lambda f: np.sqrt(f) * np.exp(-8 * f**2)) * 0.3
    exact, stored = (RadialPower.of(images[:, :SIDE, :SIDE], PIXEL_MM) for images in (noise, np.rint(noise)))

    wanted = exact.mean_frequency_per_mm()
    assert stored.mean_frequency_per_mm() > 1.1 * wanted
    assert stored.without_rounding().mean_frequency_per_mm() == pytest.approx(wanted, rel=0.02)


def _body(noise: np.ndarray) -> np.ndarray:
    line = (np.arange(256) - 127.5) * PIXEL_MM
    return np.where(np.hypot(line[:, None], line[None]) < 70, 50.0, -1000.0).astype(np.float32) + noise


@pytest.mark.parametrize("overlap", [False, True])
def test_equal_noise_has_equal_frequency_and_coarser_noise_is_found_out(overlap: bool) -> None:
    fine = _noise(6, lambda f: np.sqrt(f) * np.exp(-4 * f**2))
    coarse = _noise(6, lambda f: np.sqrt(f) * np.exp(-6 * f**2))
    scan = [_body(one) for one in fine[:3]]

    def compared(noise: np.ndarray) -> float:
        images = [one[None] for one in noise[3:]]
        found = compared_frequencies(scan, images, PIXEL_MM, overlap=overlap, rounded=False)
        assert found is not None
        assert found.source == ("even tissue" if overlap else "difference of slices")
        return found.ratio

    assert compared(fine) == pytest.approx(1.0, abs=0.05)
    assert compared(coarse) < 0.95


def test_nothing_is_said_where_nothing_is_even() -> None:
    air = np.full((2, 64, 64), -1000.0, dtype=np.float32)

    assert compared_frequencies(air, air[:, None], PIXEL_MM, overlap=False, rounded=True) is None


def test_air_serves_where_it_is_not_clipped() -> None:
    air = _noise(1, np.ones_like)[0] - 1000

    assert Tissue.air(air, PIXEL_MM).inside.any()
    assert not Tissue.air(np.maximum(air, -1000), PIXEL_MM).inside.any()

"""How many quanta arrive: bow-tie filter by body part, modulation by angle and along z, iron laws of attenuation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ldctpipe.simulation.calibrated_scan import Overrides, calibrated_scan
from ldctpipe.simulation.flux import WATER_PER_MM, bow_tie_transmission, current_factors, relative_flux
from ldctpipe.simulation.noise import NoiseModel
from ldctpipe.volumes.volume import Acquisition, Volume

SIZE, PIXEL_MM = 128, 2.6
GIVEN = Overrides(quanta=1e6, cutoff_per_mm=0.7)


def _volume(**acquisition: object) -> Volume:
    hu = np.full((3, SIZE, SIZE), -1000, dtype=np.int16)
    hu[:, 40:88, 20:108] = 40
    affine = np.diag([-PIXEL_MM, -PIXEL_MM, 3.0, 1.0])
    return Volume(hu, affine, np.array([0.0, 3.0, 6.0]), acquisition=Acquisition(**acquisition))  # type: ignore[arg-type]


def test_the_central_ray_through_water_follows_lambert_and_beer() -> None:
    line = (torch.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    water = torch.where(line[None] ** 2 + line[:, None] ** 2 < 100**2, 0.0, -1000.0)[None]
    model = NoiseModel(PIXEL_MM, SIZE, bow_tie="none", views=60)

    flux = model.transmitted(water)[0].numpy()

    middle = flux.shape[1] // 2
    assert np.log(flux[:, middle]) == pytest.approx(-WATER_PER_MM * 200.0, abs=0.05)
    assert flux[:, 2] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("name", ["large", "medium", "small"])
def test_bow_ties_have_their_published_transmission(name: str) -> None:
    at_isocentre, at_107_mm, outside = bow_tie_transmission(np.array([0.0, 107.0, 400.0]), name)

    assert at_isocentre == 1.0
    assert at_107_mm == pytest.approx({"large": 0.44, "medium": 0.31, "small": 0.18}[name])
    assert outside == pytest.approx({"large": 0.084, "medium": 0.08, "small": 0.085}[name])


@pytest.mark.parametrize(
    ("part", "bow_tie"), [("HEAD", "small"), ("BRAIN", "small"), ("ABDOMEN", "large"), (None, "large")]
)
def test_the_bow_tie_follows_the_body_part(part: str | None, bow_tie: str) -> None:
    assert calibrated_scan(_volume(body_part=part), GIVEN).noise.model.bow_tie == bow_tie


def test_angular_modulation_evens_out_a_wide_body_at_the_same_mean_current() -> None:
    integrals = torch.zeros(1, 90, 61)
    integrals[0, :, 20:41] = torch.linspace(2.0, 6.0, 90)[:, None]  # from thin to thick

    constant, modulated = (relative_flux(integrals, 1.0, "none", strength)[0] for strength in (0.0, 1.0))

    assert float(modulated[:, 0].mean()) == pytest.approx(float(constant[:, 0].mean()), rel=1e-5)
    span = [float(flux[0, 30] / flux[-1, 30]) for flux in (constant, modulated)]
    assert span[0] == pytest.approx(math.exp(4.0), rel=1e-4)
    assert span[1] == pytest.approx(math.exp(2.0), rel=1e-4)


@pytest.mark.parametrize(
    ("current", "strength"), [((100.0, 150.0, 200.0), 1.0), ((150.0, 150.0, 150.0), 0.0), (None, 0.0)]
)
def test_modulation_by_angle_is_taken_where_the_header_shows_some_along_z(
    current: tuple[float, ...] | None, strength: float
) -> None:
    scan = calibrated_scan(_volume(tube_current_ma=current), GIVEN)

    assert scan.noise.model.angular_modulation == strength
    wanted = [1.0, 1.0, 1.0] if strength == 0 else [2 / 3, 1.0, 4 / 3]
    assert list(scan.noise.current) == pytest.approx(wanted)


def test_exposure_stands_in_for_a_constant_tube_current() -> None:
    scan = calibrated_scan(_volume(tube_current_ma=(100.0,) * 3, exposure_mas=(50.0, 100.0, 150.0)), GIVEN)

    assert list(scan.noise.current) == pytest.approx([0.5, 1.0, 1.5])


@pytest.mark.parametrize("values", [None, (100.0, None, 100.0), (100.0, 0.0, 100.0), (100.0, 100.0)])
def test_an_incomplete_header_modulates_nothing(values: tuple[float | None, ...] | None) -> None:
    assert current_factors(values, 3).tolist() == [1.0, 1.0, 1.0]

"""Which values are refused as HU, in NIfTI and in DICOM alike, and which volumes of a CT are odd but right."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.plausibility import hu_doubt, hu_fault

SIDE = 96
AIR, FAT, SOFT, LUNG = -1000.0, -100.0, 45.0, -850.0


def ellipse(half_height: float, half_width: float, at: tuple[float, float] = (0, 0), side: int = SIDE) -> np.ndarray:
    """Return True inside an ellipse, in units of half the image."""
    rows, columns = (np.mgrid[:side, :side] - side / 2) / (side / 2)
    return ((rows - at[0]) / half_height) ** 2 + ((columns - at[1]) / half_width) ** 2 < 1


def body(
    slices: int = 4, noise: float = 12, lung: float = 0.2, bone: float = 0.12, fat: float = 0.07, seed: int = 0
) -> np.ndarray:
    """HU of an abdomen: fat, soft tissue, an organ, lung and a vertebra of the sizes given, in air."""
    image = np.full((SIDE, SIDE), AIR)
    image[ellipse(0.65, 0.85)] = FAT
    image[ellipse(0.65 - fat, 0.85 - fat)] = SOFT
    image[ellipse(0.2, 0.25, (-0.1, 0.3))] = SOFT + 60
    image[ellipse(0.2, lung, (-0.1, -0.4))] = LUNG
    image[ellipse(bone, bone, (0.35, 0))] = 900
    return noisy(np.stack([image] * slices), noise, seed)


def noisy(hu: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    return (hu + np.random.default_rng(seed).normal(0, noise, hu.shape)).astype(np.float32)


def head(noise: float = 5) -> np.ndarray:
    image = np.full((SIDE, SIDE), AIR)
    image[ellipse(0.85, 0.7)] = -90
    image[ellipse(0.82, 0.67)] = 1100
    image[ellipse(0.74, 0.6)] = 35
    image[ellipse(0.1, 0.08)] = 8
    return noisy(np.stack([image] * 3), noise)


def filled(value: float, noise: float = 10, **inserts: float) -> np.ndarray:
    """One material all over, with discs of others."""
    image = np.full((SIDE, SIDE), value)
    for number, insert in enumerate(inserts.values()):
        image[ellipse(0.2, 0.2, (-0.5 + 0.5 * (number // 3), -0.5 + 0.5 * (number % 3)))] = insert
    return noisy(np.stack([image] * 3), noise)


def cropped(hu: np.ndarray, part: float) -> np.ndarray:
    edge = round(SIDE * (1 - part) / 2)
    return hu[:, edge:-edge, edge:-edge]


def around_a_circle(hu: np.ndarray, value: float) -> np.ndarray:
    return np.where(ellipse(1, 1, side=hu.shape[-1]), hu, value).astype(np.float32)


def with_metal(hu: np.ndarray, value: float) -> np.ndarray:
    hu = hu.copy()
    hu[:, 40:46, 40:46] = value
    return hu


def beyond_the_patient(hu: np.ndarray) -> np.ndarray:
    hu = hu.copy()
    hu[:2] = noisy(np.full_like(hu[:2], AIR), 15, seed=5)
    return hu


LEGITIMATE: dict[str, Callable[[], np.ndarray]] = {
    "abdomen": body,
    "noise of 100 HU": lambda: body(noise=100),
    "no noise": lambda: body(noise=0),
    "one slice": lambda: body(slices=1),
    "whole numbers": lambda: np.rint(body()).astype(np.int16),
    "air clipped": lambda: np.rint(body(noise=40)).clip(-1024).astype(np.int16),
    "air clipped at -1000": lambda: np.rint(body(noise=40)).clip(-1000).astype(np.int16),
    "infant": lambda: np.where(ellipse(0.15, 0.2), body(), noisy(np.full((4, SIDE, SIDE), AIR), 12)),
    "head": head,
    "close-up of a head": lambda: cropped(head(), 0.6),
    "brain": lambda: filled(35, 5, ventricle=8, blood=70),
    "soft tissue alone": lambda: filled(SOFT, 15, organ=110, fat=-100),
    "vertebra in soft tissue": lambda: filled(SOFT, 15, bone=900),
    "dense bone in soft tissue": lambda: filled(SOFT, 15, bone=1600, other=1000),
    "fat": lambda: filled(-100, 12, muscle=55),
    "temporal bone": lambda: filled(1400, 60, cells=-800, canal=30, marrow=300, nerve=20, more=-600),
    "water of little noise": lambda: np.rint(filled(0, 3)).astype(np.int16),
    "heart without any air": lambda: filled(50, 25, aorta=420, ventricle=380, fat=-90, calcium=1300),
    "heart with lung around": lambda: filled(LUNG, 40, heart=50, aorta=420, vessel=30, fat=-90),
    "lung alone": lambda: filled(LUNG, 40, vessel=30),
    "neck": lambda: with_metal(head(20), 2500),
    "water": lambda: filled(0, 8),
    "water with Teflon": lambda: filled(0, 8, teflon=990),
    "water with rods": lambda: filled(0, 8, air=-1000, pmp=-200, ldpe=-100, acrylic=120, delrin=340, teflon=990),
    "water in air": lambda: np.where(ellipse(0.7, 0.7), filled(0, 8), filled(AIR, 8)),
    "PMMA in air": lambda: np.where(ellipse(0.5, 0.5), filled(120, 8), filled(AIR, 8)),
    "wax": lambda: filled(-150, 8),
    "wax in air": lambda: np.where(ellipse(0.5, 0.5), filled(-150, 8), filled(AIR, 8)),
    "table alone": lambda: np.where(ellipse(0.05, 0.9, (0.8, 0)), filled(-150, 12), filled(AIR, 12)),
    "air alone": lambda: filled(AIR, 12),
    "foam in air": lambda: np.where(ellipse(0.1, 0.9, (0.8, 0)), filled(-930, 12), filled(AIR, 12)),
    "slices beyond the patient": lambda: beyond_the_patient(body()),
    "contrast medium": lambda: with_metal(body(), 700),
    "metal": lambda: with_metal(body(), 3071),
    "metal on an extended scale": lambda: with_metal(body(), 30000),
    "much metal": lambda: np.where(ellipse(0.3, 0.3), 12000, body()).astype(np.float32),
    "streaks beside metal": lambda: np.where(ellipse(0.02, 0.5), -1400, body()).astype(np.float32),
    "a background of -1024": lambda: around_a_circle(body(), -1024),
    "a background of 0": lambda: np.where(ellipse(0.6, 0.8), body(), 0).astype(np.float32),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGITIMATE)
def test_odd_volumes_of_a_ct_are_hu(name: str) -> None:
    assert hu_fault(LEGITIMATE[name]()) is None


@pytest.mark.parametrize("value", [-1500, -2000, -2048, -3024, -32768])
def test_padding_does_not_count(value: float) -> None:
    hu = around_a_circle(body(), value)

    assert hu_fault(hu, Padding.of(hu == value)) is None


def test_air_alone_is_doubted_and_a_body_is_not() -> None:
    assert "air or lung alone" in (hu_doubt(LEGITIMATE["air alone"]()) or "")
    assert hu_doubt(body()) is None


WRONG_SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "intercept applied twice": lambda hu: hu - 1024,
    "intercept applied twice to clipped values": lambda hu: np.rint(hu).clip(-1024) - 1024,
    "intercept of -1000 applied twice": lambda hu: hu - 1000,
    "intercept lost": lambda hu: hu + 1024,
    "intercept of -1000 lost": lambda hu: hu + 1000,
    "intercept lost, clipped": lambda hu: (hu + 1024).clip(0),
    "intercept lost, filled": lambda hu: around_a_circle(hu + 1024, -1000),
    "intercept of -8192 lost": lambda hu: hu + 8192,
    "half of an intercept": lambda hu: hu + 512,
    "ten times": lambda hu: hu * 10,
    "twice": lambda hu: hu * 2,
    "half": lambda hu: hu / 2,
    "a fifth": lambda hu: hu / 5,
    "a tenth": lambda hu: hu / 10,
    "a hundredth": lambda hu: hu / 100,
    "inverted": lambda hu: -hu,
    "inverted stored values": lambda hu: 3071 - hu,
    "attenuation per cm": lambda hu: 0.19 * (1 + hu / 1000),
    "attenuation per mm": lambda hu: 0.019 * (1 + hu / 1000),
    "between 0 and 1": lambda hu: ((hu + 1000) / 2000).clip(0, 1),
    "between -1 and 1": lambda hu: (hu / 1000).clip(-1, 1),
    "standardised": lambda hu: (hu - hu.mean()) / hu.std(),
    "8-bit grey": lambda hu: np.rint((hu + 160).clip(0, 400) * 255 / 400),
    "labels": lambda hu: np.digitize(hu, [-500, 0, 300]).astype(np.float32),
    "constant": lambda hu: np.full_like(hu, 40),
    "not finite": lambda hu: hu * np.inf,
}


@pytest.mark.parametrize("name", WRONG_SCALES)
@pytest.mark.parametrize("make", [body, head, lambda: body(slices=1, noise=60), lambda: with_metal(body(), 3000)])
def test_values_on_another_scale_are_refused(make: Callable[[], np.ndarray], name: str) -> None:
    wrong = WRONG_SCALES[name](make())

    fault = hu_fault(wrong.astype(np.float32))

    assert fault is not None
    assert fault.startswith("holds ")


@settings(max_examples=120, deadline=None)
@given(
    noise=st.floats(0, 100),
    lung=st.floats(0.05, 0.35),
    bone=st.floats(0.02, 0.25),
    fat=st.floats(0.02, 0.25),
    seed=st.integers(0, 99),
    name=st.sampled_from(sorted(WRONG_SCALES)),
)
def test_a_body_is_hu_and_is_not_on_any_other_scale(
    noise: float, lung: float, bone: float, fat: float, seed: int, name: str
) -> None:
    hu = body(2, noise, lung, bone, fat, seed)

    assert hu_fault(hu) is None
    assert hu_fault(WRONG_SCALES[name](hu).astype(np.float32)) is not None


@settings(max_examples=100, deadline=None)
@given(
    slope=st.one_of(st.floats(0.05, 0.6), st.floats(1.15, 20), st.floats(-20, -0.4)),
    noise=st.floats(2, 60),
    seed=st.integers(0, 99),
)
def test_any_other_slope_is_found(slope: float, noise: float, seed: int) -> None:
    assert hu_fault(body(2, noise, seed=seed) * np.float32(slope)) is not None


@settings(max_examples=100, deadline=None)
@given(
    shift_hu=st.one_of(st.floats(-9000, -150), st.floats(380, 9000)), noise=st.floats(2, 60), seed=st.integers(0, 99)
)
def test_any_other_intercept_is_found(shift_hu: float, noise: float, seed: int) -> None:
    assert hu_fault(body(2, noise, seed=seed) + np.float32(shift_hu)) is not None


@pytest.mark.parametrize("slope", [0.2, 0.3, 0.5, 0.6, 0.7, 1.6, 2.0, 3.0])
@pytest.mark.parametrize("make", [body, lambda: body(lung=0.32, noise=60)])
def test_a_slope_that_leaves_air_in_its_place_is_found(make: Callable[[], np.ndarray], slope: float) -> None:
    assert hu_fault((make() + 1024) * slope - 1024)


@pytest.mark.parametrize("slope", [0.5, 2.0])
def test_an_intercept_lost_with_another_slope_is_found(slope: float) -> None:
    assert hu_fault((body() + 1024) * slope)


@pytest.mark.parametrize("fraction", [0.001, 0.01, 0.05])
def test_a_few_bright_pixels_do_not_hide_a_doubled_intercept(fraction: float) -> None:
    hu = body() - 1024
    hu[np.random.default_rng(1).random(hu.shape) < fraction] = 200

    assert "lighter than air" in (hu_fault(hu) or "")


def test_a_few_negative_pixels_do_not_hide_a_lost_intercept() -> None:
    hu = (body(noise=0) + 1024).clip(0)
    hu[np.random.default_rng(1).random(hu.shape) < 0.01] = -30

    assert "was lost" in (hu_fault(hu) or "")


def test_padding_does_not_hide_a_doubled_intercept() -> None:
    """What was clipped at −1024 looks like padding of −2048 then."""
    hu = np.rint(body()).clip(-1000) - 1024

    assert hu_fault(hu, Padding.of(hu == -2024)) is not None


@pytest.mark.parametrize("number", [0, 2, 5])
@pytest.mark.parametrize(
    "change",
    [
        lambda hu: hu - 1024,
        lambda hu: hu + 1024,
        lambda hu: -hu,
        lambda hu: hu + 32768,
        lambda hu: hu * 10,
        lambda hu: hu / 10,
        lambda hu: np.where(hu < 0, hu + 65536, hu),
    ],
)
def test_one_slice_on_another_scale_is_refused(change: Callable[[np.ndarray], np.ndarray], number: int) -> None:
    hu = body(slices=6)
    hu[number] = change(hu[number])

    assert hu_fault(hu) is not None


@pytest.mark.parametrize("change", [lambda hu: hu + 1024, lambda hu: hu + 512, lambda hu: (hu + 1024) * 0.5])
def test_one_slice_of_other_anatomy_on_another_scale_is_refused(change: Callable[[np.ndarray], np.ndarray]) -> None:
    hu = np.concatenate([body(slices=2), change(body(slices=1, lung=0.4, bone=0.3, fat=0.2, seed=9)), head()])

    assert "slice 3" in (hu_fault(hu) or "")


def test_one_slice_among_many_is_found_and_named() -> None:
    hu = np.concatenate([body(slices=60, seed=seed) for seed in range(2)])
    hu[70] += 1024

    assert "slice 71 shows" in (hu_fault(hu) or "")


def test_a_body_that_begins_or_ends_between_slices_is_no_change_of_scale() -> None:
    air, phantom = filled(AIR, 10)[:1], np.where(ellipse(0.7, 0.7), filled(0, 10), filled(AIR, 10))[:1]
    teflon = np.where(ellipse(0.7, 0.7), filled(990, 10), filled(AIR, 10))[:1]
    full = filled(0, 10)[:1]

    assert hu_fault(np.concatenate([air, phantom, phantom, air, full, air, phantom, teflon, phantom])) is None


def test_the_judgement_takes_memory_for_a_slice_at_a_time() -> None:
    hu = np.rint(np.tile(body(slices=10), (30, 4, 4))).astype(np.int16)
    tracemalloc.start()

    assert hu_fault(hu) is None

    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 0.1 * hu.nbytes


REAL_SERIES = ["body", "head_ge_tilted", "phantom_philips_5mm", "phantom_philips_tilted", "../singles/S063C"]


@pytest.mark.parametrize("name", REAL_SERIES)
def test_real_series_are_hu_and_are_not_with_another_intercept(real_data: Path, name: str) -> None:
    for series in discover(real_data / name).series:
        volume = read_volume(series)
        values = volume.hu[:8].astype(np.float32)
        padding = None if volume.padding is None else Padding.of(volume.padding[:8])

        assert volume.warnings == series.warnings
        assert hu_fault(values[:, 128:384, 128:384]) is None
        assert hu_fault(values - 1024, padding) is not None
        assert hu_fault(values * 10, padding) is not None
        assert "phantom" in name or hu_fault(values + 1024, padding) is not None


@pytest.mark.parametrize("slope", [0.5, 0.7])
@pytest.mark.parametrize("name", ["head_ge_tilted", "../singles/S063C"])
def test_real_series_with_another_slope_are_refused(real_data: Path, name: str, slope: float) -> None:
    volume = read_volume(discover(real_data / name).series[0])
    padding = None if volume.padding is None else Padding.of(volume.padding[:8])

    assert hu_fault((volume.hu[:8].astype(np.float32) + 1024) * slope - 1024, padding)


@pytest.mark.parametrize("tilted", [False, True])
@pytest.mark.parametrize("share", [0.15, 0.2, 0.25])
@pytest.mark.parametrize("material", [0.0, 105.0])
def test_a_hole_that_ends_within_a_thick_slice_is_no_other_scale(material: float, share: float, tilted: bool) -> None:
    """A close-up of a phantom: the last slice of a hole is averaged from air and the material behind it."""
    hole = ellipse(0.7, 0.7, side=77)
    filled_share = share * np.linspace(0.7, 1.3, 77) if tilted else share
    through = np.where(hole, AIR, material)
    end = np.where(hole, AIR + filled_share * (material - AIR), material)
    hu = noisy(np.stack([through, through, end, np.full_like(end, material)]), 8)

    assert hu_fault(hu) is None
    assert hu_fault(hu[::-1].copy()) is None

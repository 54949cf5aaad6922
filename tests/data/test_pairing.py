"""Pairs by place in the patient: order, gaps, several frames of reference, and what is no pair."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldctpipe.data.pairing import pair_volumes
from ldctpipe.data.scans import load_volumes
from ldctpipe.errors import InputError
from ldctpipe.volumes.volume import Acquisition, Volume


def volume(
    positions_mm: list[float] | np.ndarray,
    *,
    seed: int = 0,
    noise_hu: float = 0.0,
    frame: str | None = "1.2.3",
    key: str = "full",
    spacing_mm: float = 0.7,
    kernel: str | None = "B30f",
) -> Volume:
    """A stack of soft-edged discs whose radius depends on the position alone (and on `seed`)."""
    positions_mm = np.asarray(positions_mm, dtype=np.float64)
    rows, columns = np.indices((64, 64)) - 32
    random = np.random.default_rng(seed)
    radii = 16 + 8 * np.sin(positions_mm / 9 + seed)
    hu = -1000 + 1040 / (1 + np.exp(2 * (np.hypot(rows, columns)[None] - radii[:, None, None])))
    hu += random.normal(0, noise_hu, hu.shape) if noise_hu else 0
    affine = np.diag([-spacing_mm, -spacing_mm, 1.0, 1.0])
    affine[2, 2] = np.diff(positions_mm).mean() if len(positions_mm) > 1 else 3.0
    affine[:3, 3] = (50, 60, positions_mm[0])
    acquisition = Acquisition(kernel=kernel)
    return Volume(np.rint(hu).astype(np.int16), affine, positions_mm, None, acquisition, key, frame)


def with_files(one: Volume, folder: str) -> Volume:
    return replace(one, files=tuple(Path(f"/{folder}/{index}.dcm") for index in range(len(one.hu))))


def of_thickness(one: Volume, thickness_mm: float) -> Volume:
    return replace(one, acquisition=replace(one.acquisition, slice_thickness_mm=thickness_mm))


def sheared(one: Volume, shift_mm: float) -> Volume:
    """The stack with each slice `shift_mm` farther in y than the one before."""
    affine = one.affine.copy()
    affine[1, 2] += shift_mm
    return replace(one, affine=affine)


def at_slice(affine: np.ndarray, index: int) -> np.ndarray:
    moved = affine.copy()
    moved[:3, 3] += index * affine[:3, 2]
    return moved


@settings(max_examples=40, deadline=None)
@given(
    slices=st.integers(1, 12),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    shift=st.floats(-0.45, 0.45),
)
def test_each_full_dose_slice_gets_the_low_dose_slice_at_its_position(
    slices: int, before: int, after: int, shift: float
) -> None:
    step_mm = 2.0
    full = volume(100 + step_mm * np.arange(slices))
    low = volume(100 + shift * step_mm + step_mm * np.arange(-before, slices + after), noise_hu=50, key="low")

    (pair,) = pair_volumes([low], [full])

    np.testing.assert_array_equal(pair.low_index, before + np.arange(slices))
    np.testing.assert_array_equal(pair.full_index, np.arange(slices))


def test_fewer_low_dose_than_full_dose_slices_names_both_series() -> None:
    with pytest.raises(InputError, match=r"series full .*series low: 1 full-dose slice.*2 slices, the full dose 3"):
        pair_volumes([volume([0, 3], key="low")], [volume([0, 3, 6])])


def test_a_shift_of_more_than_half_a_slice_distance_is_no_pair() -> None:
    with pytest.raises(InputError, match="without a low-dose slice"):
        pair_volumes([volume([1.7, 4.7, 7.7], key="low")], [volume([0, 3, 6])])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frame": "1.2.4"}, "frame of reference"),
        ({"spacing_mm": 0.8}, "pixel spacing"),
        ({"kernel": "D45f"}, "kernel D45f against B30f"),
        ({"seed": 3}, "images differ"),
    ],
)
def test_series_of_something_else_are_no_pair(changes: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        pair_volumes([volume([0, 3, 6], key="low", **changes)], [volume([0, 3, 6])])


def test_another_field_of_view_is_no_pair() -> None:
    full = volume([0, 3, 6])
    moved = full.affine.copy()
    moved[0, 3] += 5

    with pytest.raises(InputError, match="field of view"):
        pair_volumes([replace(full, affine=moved, key="low")], [full])


def test_several_one_slice_series_pair_within_their_own_frame() -> None:
    full = [volume([z], frame=frame, seed=seed, key=frame) for z, frame, seed in ((5, "1.1", 0), (80, "1.2", 1))]
    low = [volume([z], frame=frame, seed=seed, noise_hu=40) for z, frame, seed in ((80, "1.2", 1), (5, "1.1", 0))]

    pairs = pair_volumes(low, full)

    assert [(pair.low.frame_of_reference, pair.full.key) for pair in pairs] == [("1.1", "1.1"), ("1.2", "1.2")]


def test_of_two_candidates_the_one_that_looks_alike_is_taken() -> None:
    full = volume([0, 3, 6], frame=None)
    alike, other = volume([0, 3, 6], frame=None, noise_hu=30), volume([0, 3, 6], frame=None, seed=1)

    assert pair_volumes([other, alike], [full])[0].low is alike


@pytest.mark.parametrize("exchanged", [(0, 1), (3, 4), (6, 7), (1, 6), (0, 7)])
def test_two_exchanged_slices_among_right_ones_are_found_and_named_with_their_files(exchanged: tuple[int, int]) -> None:
    full = with_files(volume(3.0 * np.arange(8)), "full")
    low = with_files(volume(3.0 * np.arange(8), noise_hu=60, key="low"), "low")
    hu = low.hu.copy()
    hu[list(exchanged)] = hu[list(exchanged)[::-1]]

    with pytest.raises(InputError, match="2 of 8 images differ") as refusal:
        pair_volumes([replace(low, hu=hu)], [full])

    assert any(f"/low/{i}.dcm" in str(refusal.value) and f"/full/{i}.dcm" in str(refusal.value) for i in exchanged)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("index", range(6))
def test_one_slice_of_another_patient_is_named(index: int) -> None:
    full = with_files(volume(3.0 * np.arange(6)), "full")
    low = with_files(volume(3.0 * np.arange(6), noise_hu=60, key="low"), "low")
    hu = low.hu.copy()
    hu[index] = volume(3.0 * np.arange(6), seed=2).hu[index]

    with pytest.raises(InputError, match=rf"1 of 6 images differ .*slice {index + 1} of 6.*/low/{index}.dcm"):
        pair_volumes([replace(low, hu=hu)], [full])


def test_every_exchange_of_neighbours_in_real_series_is_found_and_right_ones_pass(real_data: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("head_ge_tilted", "phantom_philips_5mm"):
        (full,) = load_volumes(real_data / name)
        noisy = (full.hu + random.normal(0, 60, full.hu.shape)).astype(np.int16)
        assert len(pair_volumes([replace(full, hu=noisy)], [full])) == 1
        for first in range(0, len(full.hu) - 1, 5):
            hu = noisy.copy()
            hu[[first, first + 1]] = hu[[first + 1, first]]
            with pytest.raises(InputError, match="2 of 28 images differ"):
                pair_volumes([replace(full, hu=hu)], [full])


def test_thin_slices_are_no_partners_of_thick_ones() -> None:
    thin, thick = volume(np.arange(9.0), key="low"), volume([0, 3, 6])

    with pytest.raises(InputError, match=r"slice distances of 1 mm against 3 mm \(9 and 3 slices\)"):
        pair_volumes([thin], [thick])
    with pytest.raises(InputError, match="slices of 1 mm against 5 mm"):
        pair_volumes([of_thickness(thin, 1.0)], [of_thickness(thick, 5.0)])


def test_overlapping_low_dose_slices_of_the_same_thickness_pair_and_the_others_are_named(
    capsys: pytest.CaptureFixture,
) -> None:
    low = with_files(of_thickness(volume(np.arange(7.0), key="low"), 3.0), "low")

    (pair,) = pair_volumes([low], [of_thickness(volume([0, 3, 6]), 3.0)])

    np.testing.assert_array_equal(pair.low_index, [0, 3, 6])
    np.testing.assert_array_equal(pair.unpaired_low, [1, 2, 4, 5])
    assert "4 slice(s) have no full-dose partner" in (told := capsys.readouterr().err)
    assert all(f"/low/{index}.dcm" in told for index in (1, 2, 4))


def test_a_low_dose_series_without_partner_is_named(capsys: pytest.CaptureFixture) -> None:
    low = [volume([0, 3], noise_hu=9, key=key, kernel=key) for key in ("B30f", "D45f")]

    (pair,) = pair_volumes(low, [volume([0, 3])])

    assert pair.low is low[0]
    assert "low-dose series D45f has no full-dose partner" in capsys.readouterr().err


def test_missing_and_duplicate_slices_are_named() -> None:
    full = with_files(volume([0, 3, 6, 9]), "full")
    gap = volume([0, 3, 9], key="low")
    double = with_files(volume([0, 3, 3.001, 6, 9], key="low"), "low")

    with pytest.raises(InputError, match=r"slice 3 of 4 at 6.0 mm \(/full/2.dcm\)"):
        pair_volumes([gap], [full])
    with pytest.raises(InputError, match=r"duplicate slices: .*/low/1.dcm.* and .*/low/2.dcm"):
        pair_volumes([double], [full])


def test_a_stack_stored_from_head_to_foot_pairs_with_one_from_foot_to_head() -> None:
    full = volume([0, 3, 6, 9])
    affine = full.affine.copy()
    affine[:3, 3] += 3 * affine[:3, 2]
    affine[:3, 2] *= -1
    low = replace(
        volume([0, 3, 6, 9], noise_hu=30), hu=full.hu[::-1].copy(), affine=affine, positions_mm=3.0 * np.arange(4)
    )

    (pair,) = pair_volumes([low], [full])

    np.testing.assert_array_equal(pair.low_index, [3, 2, 1, 0])


@pytest.mark.parametrize("slices", [1, 4])
def test_tilted_stacks_pair_where_both_are_tilted_alike(slices: int) -> None:
    full = sheared(volume(3.0 * np.arange(slices)), 1.0)
    longer = sheared(volume(3.0 * np.arange(-2, 6), noise_hu=30, key="low"), 1.0)
    straight = volume(3.0 * np.arange(-2, 6), noise_hu=30, key="low")

    (pair,) = pair_volumes([longer], [replace(full, affine=at_slice(longer.affine, 2))])

    np.testing.assert_array_equal(pair.low_index, 2 + np.arange(slices))
    if slices > 1:
        with pytest.raises(InputError, match="gantry tilt"):
            pair_volumes([straight], [full])


def test_the_same_images_on_both_sides_are_told(capsys: pytest.CaptureFixture) -> None:
    full = volume([0, 3, 6])

    assert pair_volumes([full], [full])[0].low is full
    assert "hold the same images" in capsys.readouterr().err


def test_a_full_dose_series_without_any_low_dose_is_named() -> None:
    with pytest.raises(InputError, match=r"series full .*no low-dose series is left"):
        pair_volumes([], [volume([0, 3])])


def test_real_series_pair_with_noisy_copies_of_themselves(real_data: Path) -> None:
    full = [*load_volumes(real_data / "body" / "A072894"), *load_volumes(real_data / "head_ge_tilted")]
    random = np.random.default_rng(0)
    low = [replace(one, hu=(one.hu + random.normal(0, 60, one.hu.shape)).astype(np.int16)) for one in reversed(full)]

    pairs = pair_volumes(low, full)

    assert [pair.low.key for pair in pairs] == [one.key for one in full]
    assert [len(pair.low_index) for pair in pairs] == [len(one.hu) for one in full]


def test_series_of_two_real_patients_are_no_pair(real_data: Path) -> None:
    low, full = (load_volumes(real_data / "body" / name)[:1] for name in ("A002304", "A027284"))

    with pytest.raises(InputError, match="no matching low-dose series"):
        pair_volumes(low, full)

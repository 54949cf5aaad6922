"""Pairs by place in the patient: order, gaps, several frames of reference, and what is no pair."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from ldctpipe.data.pairing import pair_volumes
from ldctpipe.data.scans import load_volumes
from ldctpipe.errors import InputError
from ldctpipe.volumes.padding import Padding
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


def from_head_to_foot(one: Volume) -> Volume:
    """The stack in the opposite order of its slices, which need not be evenly spaced."""
    affine = one.affine.copy()
    affine[2, 3] = one.positions_mm[-1]
    affine[:3, 2] *= -1
    ascending = one.positions_mm[-1] - one.positions_mm[::-1]
    return replace(one, hu=one.hu[::-1].copy(), affine=affine, positions_mm=ascending)


STORED_AXES = {
    "rows": ((0, 1, 2), (1,)),
    "columns": ((0, 1, 2), (2,)),
    "rows and columns": ((0, 1, 2), (1, 2)),
    "transposed": ((0, 2, 1), (2,)),
    "sagittal": ((2, 0, 1), (0, 2)),
}


def stored_otherwise(one: Volume, order: str) -> Volume:
    """The volume as nibabel, which did not make it, reorders its array and affine."""
    axes, flipped = STORED_AXES[order]
    # nibabel's axes are columns, rows, slices
    ornt = np.array([[axes[::-1].index(2 - axis), 1.0] for axis in range(3)])
    for axis in flipped:
        ornt[ornt[:, 0] == 2 - axis, 1] = -1

    def turned(array: np.ndarray) -> np.ndarray:
        return nibabel.orientations.apply_orientation(array.transpose(2, 1, 0), ornt).transpose(2, 1, 0)

    affine = one.affine @ nibabel.orientations.inv_ornt_aff(ornt, one.hu.shape[::-1])
    hu = turned(one.hu).copy()
    positions_mm = np.arange(len(hu)) * np.abs(affine[:3, 2]).max()
    return replace(one, hu=hu, affine=affine, positions_mm=positions_mm, padding=Padding.of(turned(one.padding[:])))


def place_of(one: Volume, index: int, row: int, column: int) -> np.ndarray:
    return one.affine[:3] @ [column, row, index, 1]


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


@settings(max_examples=60, deadline=None)
@given(
    low_places=st.sets(st.integers(0, 11), min_size=2),
    full_places=st.sets(st.integers(0, 11), min_size=2),
    descending=st.booleans(),
)
def test_the_slices_that_both_have_are_paired_and_no_others(
    low_places: set[int], full_places: set[int], descending: bool
) -> None:
    low_mm, full_mm = (3.0 * np.array(sorted(places)) for places in (low_places, full_places))
    full = of_thickness(volume(full_mm), 3.0)
    low = of_thickness(volume(low_mm, noise_hu=40, key="low"), 3.0)
    low = from_head_to_foot(low) if descending else low
    common = sorted(low_places & full_places)

    if not common:
        with pytest.raises(InputError, match="without a low-dose slice at their position"):
            pair_volumes([low], [full])
        return
    (pair,) = pair_volumes([low], [full])

    places_mm = low_mm[::-1] if descending else low_mm
    np.testing.assert_array_equal(places_mm[pair.low_index], 3.0 * np.array(common))
    np.testing.assert_array_equal(full_mm[pair.full_index], 3.0 * np.array(common))


def test_slices_that_only_one_dose_has_are_left_out_and_named(capsys: pytest.CaptureFixture) -> None:
    full = with_files(volume(3.0 * np.arange(7)), "full")
    low = with_files(volume([3.0, 6.0, 12.0, 15.0, 21.0], noise_hu=20, key="low"), "low")  # both ends and a gap

    (pair,) = pair_volumes([low], [full])

    np.testing.assert_array_equal(pair.full_index, [1, 2, 4, 5])
    np.testing.assert_array_equal(pair.low_index, [0, 1, 2, 3])
    told = capsys.readouterr().err
    assert "full-dose series full: 3 slice(s) have no low-dose partner and are left out" in told
    assert all(f"/full/{index}.dcm" in told for index in (0, 3, 6))
    assert "low-dose series low: 1 slice(s) have no full-dose partner" in told and "/low/4.dcm" in told


def test_the_fuller_of_two_candidates_is_taken() -> None:
    full = volume(3.0 * np.arange(8))
    whole, bit = volume(3.0 * np.arange(8), noise_hu=60, key="low"), volume([0, 3], noise_hu=9, key="bit")

    assert pair_volumes([bit, whole], [full])[0].low is whole


@pytest.mark.parametrize("shift_mm", [1.5, -1.5, 1.7])
def test_slices_halfway_between_those_of_the_full_dose_are_refused_with_what_to_do(shift_mm: float) -> None:
    low = volume(shift_mm + 3.0 * np.arange(-1, 5), noise_hu=30, key="low")

    with pytest.raises(InputError, match="same slice positions") as refusal:
        pair_volumes([low], [volume(3.0 * np.arange(-1, 5))])

    assert "mm" in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("noise_hu", [5, 40, 100])
@pytest.mark.parametrize("air", [(5,), (0,), (0, 1, 4, 5), (2,), (0, 1, 2, 3, 4)])
def test_slices_of_air_are_paired_by_their_place(air: tuple[int, ...], noise_hu: float) -> None:
    full, low = (volume(3.0 * np.arange(6), noise_hu=noise, seed=0, key=key) for noise, key in ((10, "f"), (0, "l")))
    full_hu, low_hu = full.hu.copy(), low.hu.astype(np.float64)
    full_hu[list(air)] = -1000 + np.random.default_rng(1).normal(0, 10, full_hu[list(air)].shape)
    low_hu[list(air)] = -1000
    low_hu += np.random.default_rng(2).normal(0, noise_hu, low_hu.shape)
    noisy = replace(low, hu=np.rint(low_hu).clip(-1024, 3071).astype(np.int16))

    (pair,) = pair_volumes([noisy], [replace(full, hu=full_hu)])

    assert len(pair.full_index) == 6


@pytest.mark.parametrize("side", [128, 256, 512])
@pytest.mark.parametrize("mean_hu", [-1000, 20])
def test_noise_of_a_soft_kernel_is_no_anatomy(side: int, mean_hu: float) -> None:
    """Air beyond the patient, or a water phantom larger than the field of view, with noise that reaches over pixels."""
    random = np.random.default_rng(3)
    full = volume([0, 3])

    def noisy(sd_hu: float) -> Volume:
        noise = gaussian_filter(random.normal(size=(2, side, side)), (0, 1.7, 1.7))
        return replace(full, hu=np.rint(mean_hu + sd_hu * noise / noise.std()).astype(np.int16))

    (pair,) = pair_volumes([noisy(50)], [noisy(12)])

    assert len(pair.full_index) == 2


def test_air_is_no_partner_of_anatomy_and_hides_no_wrong_slice() -> None:
    full = volume(3.0 * np.arange(6))
    low = volume(3.0 * np.arange(6), noise_hu=40, key="low")
    for index in (0, 3):
        hu = low.hu.copy()
        hu[index] = -1000 + np.random.default_rng(1).normal(0, 40, hu[index].shape)
        with pytest.raises(InputError, match=f"1 of 6 images differ.*slice {index + 1} of 6"):
            pair_volumes([replace(low, hu=hu)], [full])


@pytest.mark.parametrize("order", ["rows", "columns", "rows and columns", "transposed", "sagittal"])
def test_a_grid_stored_in_another_order_is_paired_voxel_by_voxel(order: str) -> None:
    full = volume(3.0 * np.arange(9), noise_hu=5)
    full = replace(full, hu=full.hu[:, 4:, 10:].copy(), padding=Padding.of(full.hu[:, 4:, 10:] > 45))
    low = replace(stored_otherwise(full, order), key="low")
    np.testing.assert_allclose(place_of(low, 2, 3, 4), low.affine[:3] @ [4, 3, 2, 1])

    (pair,) = pair_volumes([low], [full])

    np.testing.assert_array_equal(pair.low.hu[pair.low_index], full.hu[pair.full_index])
    np.testing.assert_allclose(place_of(pair.low, int(pair.low_index[2]), 5, 7), place_of(full, 2, 5, 7))
    assert pair.low.padding is not None and full.padding is not None
    np.testing.assert_array_equal(pair.low.padding[pair.low_index], full.padding[pair.full_index])


def test_a_body_that_resembles_its_mirror_image_is_no_pair_with_it() -> None:
    full = volume(3.0 * np.arange(5))
    rows, columns = np.indices((64, 64)) - 32
    organ = np.where(np.hypot(rows - 6, columns) < 5, 200, 0).astype(np.int16)
    full = replace(full, hu=full.hu + organ)
    random = np.random.default_rng(1)
    low = replace(full, hu=(full.hu + random.normal(0, 15, full.hu.shape)).astype(np.int16))
    mirrored = replace(low, hu=low.hu[:, ::-1])
    assert np.corrcoef(mirrored.hu.ravel(), full.hu.ravel())[0, 1] > 0.9

    assert len(pair_volumes([low], [full])) == 1
    with pytest.raises(InputError, match="it fits better with its rows mirrored"):
        pair_volumes([mirrored], [full])


@pytest.mark.parametrize(("rows", "columns", "words"), [(-1, 1, "rows"), (1, -1, "columns"), (-1, -1, "rows and")])
def test_images_mirrored_against_their_affine_are_no_pair_and_the_remedy_says_so(
    rows: int, columns: int, words: str
) -> None:
    full = volume(3.0 * np.arange(5))
    full = replace(full, hu=np.roll(full.hu, (12, 9), axis=(1, 2)))

    with pytest.raises(InputError, match="5 of 5 images differ") as refusal:
        pair_volumes([replace(full, hu=full.hu[:, ::rows, ::columns].copy(), key="low")], [full])

    assert refusal.value.remedy.startswith(f"convert it again: its {words}")


def test_another_frame_of_reference_is_accepted_where_places_and_anatomy_agree(capsys: pytest.CaptureFixture) -> None:
    full = volume(3.0 * np.arange(6))
    low = volume(3.0 * np.arange(6), noise_hu=40, frame="9.9", key="low")
    other = volume(3.0 * np.arange(6), noise_hu=40, frame="9.8", key="other", seed=1)

    assert pair_volumes([other, low], [full])[0].low is low
    assert "another frame of reference" in capsys.readouterr().err
    same = volume(3.0 * np.arange(6), noise_hu=90, key="same")
    assert pair_volumes([low, same], [full])[0].low is same  # noisier, but in the same frame of reference


def test_two_real_patients_with_frames_of_their_own_are_no_pair(real_data: Path) -> None:
    names = sorted(path.name for path in (real_data / "body").iterdir())
    scans = [load_volumes(real_data / "body" / name)[0] for name in names]
    random = np.random.default_rng(0)
    compared = 0
    for one, other in itertools.pairwise(scans):
        slices = min(len(one.hu), len(other.hu))
        unpadded = replace(one, hu=one.hu[:slices], positions_mm=one.positions_mm[:slices], padding=None, files=())
        moved = replace(  # where it would lie if both had been scanned alike
            unpadded,
            hu=other.hu[:slices, : one.hu.shape[1], : one.hu.shape[2]],
            frame_of_reference="9.9",
            key="low",
        )
        if moved.hu.shape != unpadded.hu.shape:
            continue
        with pytest.raises(InputError, match=r"frame of reference|images differ"):
            pair_volumes([moved], [unpadded])
        compared += 1
        noise = random.normal(0, 60, unpadded.hu.shape)
        own = replace(moved, hu=(unpadded.hu + noise).clip(-1024, 3071).astype(np.int16))
        assert len(pair_volumes([own], [unpadded])[0].full_index) == slices
    assert compared >= 3


def test_a_full_dose_series_without_a_partner_is_left_out_only_where_that_is_asked_for(
    capsys: pytest.CaptureFixture,
) -> None:
    full = [volume([0, 3, 6], key=kernel, kernel=kernel) for kernel in ("B30f", "D45f")]
    low = [volume([0, 3, 6], noise_hu=30, key="low")]

    with pytest.raises(InputError, match="full-dose series D45f"):
        pair_volumes(low, full)
    assert len(pair_volumes(low, full, every=False)) == 1
    assert "full-dose series D45f" in capsys.readouterr().err
    with pytest.raises(InputError, match="kernel B30f against D45f"):
        pair_volumes(low, full[1:], every=False)


def test_a_shift_of_more_than_half_a_slice_distance_is_no_pair() -> None:
    with pytest.raises(InputError, match="without a low-dose slice"):
        pair_volumes([volume([1.7, 4.7, 7.7], key="low")], [volume([0, 3, 6])])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frame": "1.2.4", "seed": 3}, "frame of reference|images differ"),
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


def test_duplicate_slices_are_named() -> None:
    full = with_files(volume([0, 3, 6, 9]), "full")
    double = with_files(volume([0, 3, 3.001, 6, 9], key="low"), "low")

    with pytest.raises(InputError, match=r"duplicate slices: .*/low/1.dcm.* and .*/low/2.dcm"):
        pair_volumes([double], [full])


def test_a_stack_stored_from_head_to_foot_pairs_with_one_from_foot_to_head() -> None:
    full = volume([0, 3, 6, 9])
    low = from_head_to_foot(volume([0, 3, 6, 9], noise_hu=30))

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

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
    """A stack of discs whose radius depends on the position alone (and on `seed`)."""
    positions_mm = np.asarray(positions_mm, dtype=np.float64)
    rows, columns = np.indices((64, 64)) - 32
    random = np.random.default_rng(seed)
    radii = 16 + 8 * np.sin(positions_mm / 9 + seed)
    hu = np.where(np.hypot(rows, columns)[None] < radii[:, None, None], 40.0, -1000.0)
    hu += random.normal(0, noise_hu, hu.shape) if noise_hu else 0
    affine = np.diag([-spacing_mm, -spacing_mm, 1.0, 1.0])
    affine[2, 2] = np.diff(positions_mm).mean() if len(positions_mm) > 1 else 3.0
    affine[:3, 3] = (50, 60, positions_mm[0])
    acquisition = Acquisition(kernel=kernel)
    return Volume(np.rint(hu).astype(np.int16), affine, positions_mm, None, acquisition, key, frame)


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

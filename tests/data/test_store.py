"""The training store and the batches drawn from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ldctpipe.data.batch_plan import BatchPlanner
from ldctpipe.data.preparation import prepare_store
from ldctpipe.data.sampling import PatchSampler
from ldctpipe.data.store import NOISE_UNIT_HU, open_store
from ldctpipe.errors import InputError
from ldctpipe.simulation.noise_components import ELECTRONIC
from ldctpipe.volumes.case import read_case
from ldctpipe.volumes.normalization import HuNormalization

DRAWN = {
    "images_per_batch": 4,
    "patches_per_image": 2,
    "patch_size": 64,
    "augmentation_choices": ("none",),
    "intensity_factors": (0.5, 2.0),
    "position_seed": 1,
    "augmentation_seed": 2,
    "dose_seed": 3,
}


def sampler_of(store, **changes) -> PatchSampler:
    options = {"normalization": HuNormalization(), "rotation_deg": 45.0, **DRAWN}
    return PatchSampler(store, torch.device("cpu"), **(options | changes))


def planner_of(store) -> BatchPlanner:
    return BatchPlanner(store, **DRAWN)


def test_the_store_holds_the_cases_to_the_hu(tiny_cases, tiny_store):
    store = open_store(tiny_store)

    for patient in ("P1", "P2"):
        rows = store.slices.index[store.slices["patient"] == patient]
        for place, role in enumerate(("low_dose", "full_dose")):
            case = read_case(tiny_cases / "cases" / patient / role / f"{patient}{role}")
            assert np.array_equal(store.pairs[rows, place], case.hu)


def test_test_patients_stay_out(tiny_store):
    assert set(open_store(tiny_store).slices["patient"]) == {"P1", "P2"}


def test_batches_draw_patients_or_slices_with_equal_odds(tiny_store):
    opened = open_store(tiny_store)
    patients = ["P1"] * 7 + ["P2"]
    store = replace(opened, slices=opened.slices.assign(patient=patients))
    odds = {"patients": np.array([1 / 14] * 7 + [1 / 2]), "slices": np.full(8, 1 / 8)}

    for drawing, expected in odds.items():
        planner = BatchPlanner(store, **(DRAWN | {"images_per_batch": 4000, "patches_per_image": 1}), drawing=drawing)
        drawn = np.bincount(planner.next().slices.numpy(), minlength=8) / 4000
        assert drawn == pytest.approx(expected, abs=0.036)  # 4.5 standard errors


def test_a_batch_is_what_lies_at_its_positions(tiny_store):
    store = open_store(tiny_store)
    plan = planner_of(store).next()

    low, full = sampler_of(store).batch()

    assert low.shape == full.shape == (8, 1, 64, 64)
    for index, (where, (row, column)) in enumerate(zip(plan.slices, plan.corners, strict=True)):
        patch = store.pairs[where, :, row : row + 64, column : column + 64].astype(float)
        expected = np.clip((patch + 1000) / 3000, 0, 1)
        assert np.allclose(low[index, 0], expected[0], atol=1e-6)
        assert np.allclose(full[index, 0], expected[1], atol=1e-6)


def test_no_patch_is_pure_air(tiny_store):
    sampler = sampler_of(open_store(tiny_store))

    for _ in range(20):
        _, full = sampler.batch()
        assert (full > HuNormalization().normalize(torch.tensor(-500.0))).flatten(1).any(dim=1).all()


def test_same_seeds_same_batches_and_a_state_goes_on(tiny_store):
    store = open_store(tiny_store)
    choices = ("rotation", "flip", "intensity", "none")
    first, second = (sampler_of(store, augmentation_choices=choices) for _ in range(2))
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first.batch(), second.batch(), strict=True))

    other = sampler_of(store, augmentation_choices=choices, position_seed=9, augmentation_seed=9)
    other.load_state_dict(first.state_dict())

    assert all(torch.equal(a, b) for a, b in zip(first.batch(), other.batch(), strict=True))


def test_the_low_and_the_full_dose_get_the_same_transform(tiny_store, tmp_path):
    store = open_store(tiny_store)
    twins = store.pairs.copy()
    twins[:, 1] = twins[:, 0]
    np.save(tmp_path / "twins.npy", twins)
    same = replace(store, pairs=np.load(tmp_path / "twins.npy", mmap_mode="r"))

    low, full = sampler_of(same, augmentation_choices=("rotation", "flip", "intensity")).batch()

    assert torch.equal(low, full)


def test_noise_images_make_a_new_low_dose_for_each_patch(tiny_store, tmp_path):
    store = open_store(tiny_store)
    slices, _, rows, columns = store.pairs.shape
    noise = np.random.default_rng(0).normal(0, 10 / NOISE_UNIT_HU, (slices, 2, 2, rows, columns)).astype(np.int16)
    noise[:, :, ELECTRONIC] = 0
    np.save(tmp_path / "noise.npy", noise)
    simulated = {
        "lowest_dose": 0.25,
        "highest_dose": 0.25,
        "varied": False,
        "realisations": 2,
        "electronic_ratio": 7e-5,
    }
    made = replace(
        store,
        noise=np.load(tmp_path / "noise.npy", mmap_mode="r"),
        description={**store.description, "simulated": simulated},
    )

    wide = HuNormalization(-5000.0, 5000.0)  # clips nothing

    def added_hu(sampler: PatchSampler) -> np.ndarray:
        low, full = sampler.batch()
        return ((low - full) * wide.range_hu).numpy()

    first, again, other = (added_hu(sampler_of(made, normalization=wide, dose_seed=seed)) for seed in (3, 3, 4))

    assert first.std() == pytest.approx(10 * np.sqrt(1 / 0.25 - 1), rel=0.03)
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.9  # the same positions, another mixture


def test_an_occupied_folder_is_left_alone(tiny_cases, tmp_path):
    (tmp_path / "precious").write_text("data")

    with pytest.raises(InputError, match="already holds files"):
        prepare_store(tiny_cases / "sheet.csv", tmp_path)

    assert (tmp_path / "precious").read_text() == "data"


def test_a_store_cut_short_is_refused(tiny_cases, tmp_path):
    prepare_store(tiny_cases / "sheet.csv", tmp_path / "store")
    whole = (tmp_path / "store" / "pairs.npy").read_bytes()
    (tmp_path / "store" / "pairs.npy").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(InputError, match="not a whole training store"):
        open_store(tmp_path / "store")

"""Batches of slices amid their neighbours, of unpaired images, and of another patch size than the store's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from ldctpipe.data.origins import BODY_ABOVE_HU
from ldctpipe.data.sampling import PatchSampler
from ldctpipe.data.store import FULL_DOSE, LOW_DOSE, open_store, stacks_of
from ldctpipe.errors import InputError
from ldctpipe.volumes.neighbors import neighbors
from ldctpipe.volumes.normalization import HuNormalization

WIDE = HuNormalization(-32768.0, 32767.0)  # cuts nothing: what is drawn is found again in the store


def table(*series: tuple[str, str, list[float]]) -> pd.DataFrame:
    rows = [(patient, name, position) for patient, name, positions in series for position in positions]
    return pd.DataFrame(rows, columns=["patient", "series", "position_mm"])


def sampler_of(store, **options) -> PatchSampler:
    given = {"images_per_batch": 6, "patches_per_image": 2, "patch_size": 64, "normalization": WIDE}
    given |= {"augmentation_choices": ("none",), "rotation_deg": 45.0, "intensity_factors": (0.5, 2.0)}
    given |= {"position_seed": 1, "augmentation_seed": 1, "dose_seed": 1}
    return PatchSampler(store, torch.device("cpu"), **(given | options))


def in_hu(images: torch.Tensor) -> np.ndarray:
    return WIDE.denormalize(images).round().numpy().astype(np.int64)


def places_of(patch: np.ndarray, images: np.ndarray) -> list[tuple[int, int, int]]:
    """Return (slice, row, column) wherever a patch lies in images (slices, rows, columns)."""
    windows = np.lib.stride_tricks.sliding_window_view(images, patch.shape, axis=(1, 2))
    corners = np.argwhere(windows[..., 0, 0] == patch[0, 0])
    return [tuple(map(int, each)) for each in corners if np.array_equal(windows[tuple(each)], patch)]


def test_neighbours_are_in_order_and_ends_repeat():
    assert neighbors(stacks_of(table(("P1", "a", [0, 3, 6, 9]))), 2).tolist() == [
        [0, 0, 0, 1, 2],
        [0, 0, 1, 2, 3],
        [0, 1, 2, 3, 3],
        [1, 2, 3, 3, 3],
    ]


def test_no_context_is_the_slice_alone():
    assert neighbors(stacks_of(table(("P1", "a", [0, 3]))), 0).tolist() == [[0], [1]]


def test_other_series_and_other_patients_are_no_neighbours():
    found = neighbors(stacks_of(table(("P1", "a", [0, 3]), ("P1", "b", [6, 9]), ("P2", "a", [12, 15]))), 1)

    assert found.tolist() == [[0, 0, 1], [0, 1, 1], [2, 2, 3], [2, 3, 3], [4, 4, 5], [4, 5, 5]]


@pytest.mark.parametrize("step", [3.0, -3.0])
def test_a_gap_in_the_positions_is_an_end(step):
    positions = [step * number for number in (0, 1, 2, 5, 6)]

    assert neighbors(stacks_of(table(("P1", "a", positions))), 1).tolist() == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 2],
        [3, 3, 4],
        [3, 4, 4],
    ]


def test_windows_have_the_slices_around_at_the_same_place(tiny_store):
    store = open_store(tiny_store)

    low, full = sampler_of(store, context=1).batch()

    assert low.shape == (12, 3, 64, 64)
    assert full.shape == (12, 1, 64, 64)
    around = neighbors(store.stacks, 1)
    for stack, target in zip(in_hu(low), in_hu(full), strict=True):
        ((number, row, column),) = places_of(target[0], store.pairs[:, FULL_DOSE])
        patch = np.s_[row : row + 64, column : column + 64]
        for found, expected in zip(stack, around[number], strict=True):
            assert np.array_equal(found, store.pairs[expected, LOW_DOSE][patch])


def test_context_changes_no_position(tiny_store):
    store = open_store(tiny_store)

    alone, amid = sampler_of(store).batch(), sampler_of(store, context=2).batch()

    assert torch.equal(alone[1], amid[1])
    assert torch.equal(alone[0], amid[0][:, 2:3])


def test_neighbours_turn_and_flip_with_their_slice(tiny_store):
    store = open_store(tiny_store)
    flips = {"augmentation_choices": ("flip",)}

    alone, amid = sampler_of(store, **flips).batch(), sampler_of(store, context=1, **flips).batch()

    assert torch.equal(alone[0], amid[0][:, 1:2])
    below = amid[0][:, 0] - amid[0][:, 1]
    assert (below.abs().amax(dim=(1, 2)) > 0).any(), "all slices are the first of their series"
    turned_back = in_hu(amid[0].flip(-1)), in_hu(amid[0].flip(-2))
    places = [[places_of(each, store.pairs[:, LOW_DOSE]) for each in stack] for stack in np.concatenate(turned_back)]
    found = [place for place in places if all(place)]
    assert found
    assert all(len({each[0][1:] for each in place}) == 1 for place in found)  # one corner, in all three slices


def test_rows_of_an_unpaired_batch_are_of_different_patients(tiny_store):
    store = open_store(tiny_store)
    patient_of = store.slices["patient"].to_numpy()
    assert len(store.patients("train")) > 1

    low, full = sampler_of(store, paired=False).batch()

    assert (len(low), len(full)) == (12, 12)
    for one, other in zip(in_hu(low), in_hu(full), strict=True):
        place_low = places_of(one[0], store.pairs[:, LOW_DOSE])
        place_full = places_of(other[0], store.pairs[:, FULL_DOSE])
        assert place_low and place_full
        assert {patient_of[place[0]] for place in place_low}.isdisjoint(patient_of[place[0]] for place in place_full)


@pytest.mark.parametrize("side", [32, 55])
def test_another_patch_size_finds_its_own_places_in_the_body(tiny_store, side):
    store = open_store(tiny_store).with_patches_of(side)

    _, full = sampler_of(store, patch_size=side, images_per_batch=20).batch()

    assert full.shape[-2:] == (side, side)
    body = (in_hu(full) > BODY_ABOVE_HU).mean(axis=(1, 2, 3))
    assert body.min() > 0.02  # a tenth at the place that is listed, from which a patch may lie 7 pixels away
    assert body.mean() > 0.3
    assert store.slices["origins"].sum() == len(store.origins)


def test_a_patch_larger_than_every_slice_is_refused(tiny_store):
    with pytest.raises(InputError, match="no slice in which a patch of 4096 pixels"):
        open_store(tiny_store).with_patches_of(4096)

"""Batches got ready in the background: the same ones, none lost or repeated by a resume, no thread left behind."""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ldctpipe.data.prefetching import Prefetcher
from ldctpipe.data.sampling import PatchSampler
from ldctpipe.data.store import TrainingStore, open_store
from ldctpipe.volumes.normalization import HuNormalization


@pytest.fixture(scope="module")
def store(tiny_store) -> TrainingStore:
    return open_store(tiny_store)


def sampler_of(store: TrainingStore, prefetch: int | None, seed: int = 1, device: str = "cpu") -> PatchSampler:
    return PatchSampler(
        store,
        torch.device(device),
        images_per_batch=2,
        patches_per_image=2,
        patch_size=64,
        normalization=HuNormalization(),
        augmentation_choices=("rotation", "flip", "intensity", "none"),
        rotation_deg=45.0,
        intensity_factors=(0.5, 2.0),
        position_seed=seed,
        augmentation_seed=seed,
        dose_seed=seed,
        prefetch=prefetch,
    )


def next_batches(sampler: PatchSampler, count: int) -> list[torch.Tensor]:
    return [torch.cat(sampler.batch()) for _ in range(count)]


def prefetching_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def wait_until(is_so) -> None:
    for _ in range(500):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("nothing happened in 5 s")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5), st.sampled_from([0, 1, 3]), st.sampled_from([0, 1, 3]))
def test_a_state_goes_on_after_the_last_batch_that_was_handed_out(store, taken, ahead, ahead_later):
    expected = next_batches(sampler_of(store, 0), taken + 3)

    with sampler_of(store, ahead) as first:
        before = next_batches(first, taken)
        state = first.state_dict()
    with sampler_of(store, ahead_later, seed=9) as resumed:
        next_batches(resumed, 1)  # what it had got ready is of another state
        resumed.load_state_dict(state)
        after = next_batches(resumed, 3)

    assert all(torch.equal(one, other) for one, other in zip(before + after, expected, strict=True))


def test_batches_follow_each_other_across_a_close(store):
    expected = next_batches(sampler_of(store, 0), 4)

    with sampler_of(store, 2) as sampler:
        found = next_batches(sampler, 2)
        sampler.close()
        found += next_batches(sampler, 2)

    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_no_thread_outlives_its_sampler(store):
    with sampler_of(store, 2) as sampler:
        sampler.batch()
        assert len(prefetching_threads()) == 1
    assert not prefetching_threads()

    forgotten = sampler_of(store, 2)
    forgotten.batch()
    del forgotten
    gc.collect()
    assert not prefetching_threads()


def test_what_fails_in_the_background_is_raised_by_batch(store, tmp_path):
    np.save(tmp_path / "short.npy", store.pairs[:1])
    cut_short = replace(store, pairs=np.load(tmp_path / "short.npy", mmap_mode="r"))

    with sampler_of(cut_short, 2) as sampler:
        for _ in range(2):  # the same batch is at fault the second time
            with pytest.raises(IndexError):
                next_batches(sampler, 20)
            assert not prefetching_threads()


@pytest.mark.parametrize("ahead", [1, 3])
def test_as_many_results_are_ready_as_were_asked_for_and_no_more(ahead):
    made = []
    prefetcher = Prefetcher(lambda: made.append(len(made)) or len(made), ahead)

    assert prefetcher.take() == 1
    wait_until(lambda: len(made) == 1 + ahead)  # without another `take`
    time.sleep(0.05)
    assert len(made) == 1 + ahead

    assert [prefetcher.take() for _ in range(3)] == [2, 3, 4]
    prefetcher.close()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("fits", [True, False])
def test_a_gpu_gets_the_batches_of_the_cpu_without_waiting(store, monkeypatch, fits):
    monkeypatch.setattr("ldctpipe.data.window_supply._fits", lambda *_: fits)
    expected = next_batches(sampler_of(store, 0), 6)

    with sampler_of(store, None, device="cuda") as sampler:
        found = next_batches(sampler, 3)
        torch.cuda.set_sync_debug_mode("error")
        try:
            found += next_batches(sampler, 3)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert bool(prefetching_threads()) is not fits

    assert all(torch.allclose(one.cpu(), other, atol=1e-6) for one, other in zip(found, expected, strict=True))

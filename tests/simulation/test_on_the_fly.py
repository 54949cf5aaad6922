"""Reduced-dose slices drawn one at a time for training, and the slices that many threads work on."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from ldctpipe.simulation.augmentation import DoseAugmentation
from ldctpipe.simulation.exposure import DoseRange
from ldctpipe.simulation.noise import NoiseModel
from ldctpipe.simulation.scan_noise import ScanNoise
from ldctpipe.simulation.workers import each_slice

SIZE, PIXEL_MM = 192, 2.0


@pytest.fixture(scope="module")
def body() -> np.ndarray:
    """Return a slice of an oval body, int16 HU."""
    line = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    inside = (line[None] / 150) ** 2 + (line[:, None] / 110) ** 2 < 1
    return np.where(inside, 50, -1000).astype(np.int16)


def _noise(current: tuple[float, ...] = (1.0, 1.0, 1.0)) -> ScanNoise:
    model = NoiseModel(PIXEL_MM, SIZE, quanta=1.5e6, views=180)
    return ScanNoise(model, "series", (0.0, 2.0, 4.0), 3.0, current)


def test_a_draw_has_the_noise_of_its_dose(body: np.ndarray) -> None:
    noise = _noise()
    augmentation = DoseAugmentation(noise, DoseRange(0.1, 0.1), seed=1)

    added = np.stack([augmentation.low_dose(body, 0, epoch)[0] - body.astype(float) for epoch in range(24)])

    transmitted = noise.transmitted(body.astype(np.float32))
    low, full = (noise.model.sd_map(transmitted, dose).numpy()[80:112, 80:112] for dose in (0.1, 1.0))
    assert added[:, 80:112, 80:112].std() == pytest.approx(float(np.sqrt(low**2 - full**2).mean()), rel=0.05)


def test_keeping_the_flux_of_a_slice_changes_nothing_that_counts(body: np.ndarray) -> None:
    augmentation = DoseAugmentation(_noise(), DoseRange(0.1, 0.1), seed=1)
    flux = augmentation.flux(body)

    anew, kept = (augmentation.low_dose(body, 0, 3, flux=one)[0].astype(float) for one in (None, flux))

    assert flux.nbytes < 200_000
    noise, difference = (anew - body)[60:132, 60:132], (kept - anew)[60:132, 60:132]
    assert difference.std() < 0.03 * noise.std()


def test_draws_follow_from_seed_series_slice_and_realisation_alone(body: np.ndarray) -> None:
    doses = DoseRange(0.05, 0.6, vary=True, each_slice=True)
    stored = ScanNoise.from_json(_noise().as_json())

    first, exposure = DoseAugmentation(_noise(), doses, seed=1).low_dose(body, 1, 5)
    again, same = DoseAugmentation(stored, doses, seed=1).low_dose(body, 1, 5)

    assert np.array_equal(first, again)
    assert exposure == same
    for seed, index, realisation in ((2, 1, 5), (1, 2, 5), (1, 1, 6)):
        other, _ = DoseAugmentation(_noise(), doses, seed=seed).low_dose(body, index, realisation)
        assert not np.array_equal(first, other)


def test_memory_does_not_grow_with_the_number_of_slices() -> None:
    taken, ahead, lock = [0], [], threading.Lock()

    def work(index: int) -> int:
        with lock:
            ahead.append(index - taken[0])
        return index

    for index in each_slice(work, range(300), threads=3):
        with lock:
            taken[0] = index

    assert max(ahead) <= 6


def test_the_number_of_threads_of_torch_is_as_before() -> None:
    before = torch.get_num_threads()

    assert list(each_slice(str, range(3), 2)) == ["0", "1", "2"]

    assert torch.get_num_threads() == before

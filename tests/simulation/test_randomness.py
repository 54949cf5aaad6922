"""Correlation of noise between slices, and independence of everything else."""

from __future__ import annotations

import numpy as np
import pytest

from ldctpipe.simulation.randomness import generator, slice_deviates

SHAPE = (200, 300)


@pytest.mark.parametrize(
    ("thickness_mm", "increment_mm"), [(3.0, 2.0), (3.0, 3.0), (5.0, 1.0), (1.0, 0.8), (2.5, 1.25), (5.0, 10.0)]
)
def test_neighbours_correlate_by_their_overlap(thickness_mm: float, increment_mm: float) -> None:
    positions = (np.arange(4) * increment_mm - 123.4).tolist()
    deviates = slice_deviates(1, "series", positions, thickness_mm)

    slices = [deviates.of_slice(index, SHAPE, "noise") for index in range(4)]

    for lag in (1, 2, 3):
        expected = max(0.0, 1 - lag * increment_mm / thickness_mm)
        assert np.corrcoef(slices[0].ravel(), slices[lag].ravel())[0, 1] == pytest.approx(expected, abs=0.03)
    assert [float(values.std()) for values in slices] == pytest.approx([1.0] * 4, abs=0.02)


def test_slices_are_independent_where_thickness_is_not_known() -> None:
    deviates = slice_deviates(1, "series", [0.0, 1.0], None)

    first, second = (deviates.of_slice(index, SHAPE, "noise").ravel() for index in (0, 1))

    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02


@pytest.mark.parametrize("other", [(2, "series", "noise"), (1, "another", "noise"), (1, "series", "texture")])
def test_seed_series_and_purpose_each_change_the_numbers(other: tuple[int, str, str]) -> None:
    seed, key, purpose = other
    first = slice_deviates(1, "series", [0.0], 3.0).of_slice(0, SHAPE, "noise")
    second = slice_deviates(seed, key, [0.0], 3.0).of_slice(0, SHAPE, purpose)

    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02


def test_streams_are_the_same_everywhere() -> None:
    assert generator(1, "a").integers(0, 1000, 5).tolist() == [544, 705, 894, 803, 620]

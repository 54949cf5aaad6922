"""Doses drawn at random: within their range, the same for the same seed, recorded."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ldctpipe.errors import UsageError
from ldctpipe.simulation.exposure import DoseRange, Exposure


def test_doses_are_even_by_their_logarithm() -> None:
    doses = DoseRange(0.05, 0.6, each_slice=True)

    drawn = np.log([doses.draw(1, "series", index).dose for index in range(2000)])

    low, high = math.log(0.05), math.log(0.6)
    assert drawn.min() >= low
    assert drawn.max() <= high
    assert np.quantile(drawn, [0.25, 0.5, 0.75]) == pytest.approx(
        low + (high - low) * np.array([0.25, 0.5, 0.75]), abs=0.1
    )


def test_what_varies_has_the_spread_that_it_should() -> None:
    doses = DoseRange(0.25, 0.25, vary=True, each_slice=True)

    drawn = [doses.draw(1, "series", index) for index in range(2000)]

    assert np.log([one.quanta_factor for one in drawn]).std() == pytest.approx(0.3, rel=0.06)
    assert min(one.cutoff_factor for one in drawn) >= 0.9
    assert max(one.cutoff_factor for one in drawn) <= 1.1
    ratios = [one.electronic_ratio or 0.0 for one in drawn]
    assert 2e-5 <= min(ratios) < 2.5e-5
    assert 2.5e-4 < max(ratios) <= 3e-4


@pytest.mark.parametrize(("each_slice", "alike"), [(True, False), (False, True)])
def test_draws_once_a_series_or_once_a_slice(each_slice: bool, alike: bool) -> None:
    doses = DoseRange(0.05, 0.6, each_slice=each_slice)

    assert (doses.draw(1, "series", 0) == doses.draw(1, "series", 1)) is alike
    assert doses.draw(1, "series", 3) == doses.draw(1, "series", 3)
    others = [doses.draw(2, "series", 0), doses.draw(1, "other", 0), doses.draw(1, "series", 0, realisation=1)]
    assert doses.draw(1, "series", 0) not in others


@pytest.mark.parametrize("ends", [(0.0, 0.5), (0.5, 1.5), (0.6, 0.05), (math.nan, 0.5)])
def test_refuses_impossible_ranges(ends: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="dose"):
        DoseRange(*ends)


@pytest.mark.parametrize("dose", [0.0, -1.0, 1.01, math.nan, math.inf])
def test_refuses_impossible_doses(dose: float) -> None:
    with pytest.raises(UsageError, match="above 0 and at most 1"):
        Exposure(dose)

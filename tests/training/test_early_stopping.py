"""Early stopping ends runs that learn nothing more, and no run that still does, in simulated validation losses."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from ldctpipe.recipes.library import load_recipe
from ldctpipe.training.early_stopping import CycleLosses, ends_cycle
from ldctpipe.training.schedule import rate_fraction

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "early_stopping.py"
RUNS = 60


@pytest.fixture(scope="module")
def simulation():
    """The simulated losses that the documentation's table is made of."""
    spec = spec_from_file_location("early_stopping_benchmark", BENCHMARK)
    module = sys.modules[spec.name] = module_from_spec(spec)  # where its dataclass looks for its annotations
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("iterations", [200_000, 20_000])
@pytest.mark.parametrize("fall", ["FAST", "SLOW"])
def test_the_flagship_goes_on_as_long_as_it_improves(simulation, fall, iterations):
    recipe = load_recipe("wgan-gp-effnetv2", [f"training.iterations={iterations}"])

    ended = simulation.ends_of(recipe, getattr(simulation, fall), RUNS)

    assert np.mean(ended < iterations) <= 0.1


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_it_ends_within_the_run_once_nothing_improves(simulation, share):
    recipe = load_recipe("wgan-gp-effnetv2")

    ended = simulation.ends_of(recipe, replace(simulation.SLOW, learns=share), RUNS)

    assert np.mean(ended < 200_000) > 0.7
    assert np.min(ended) > share * 200_000
    assert np.median(ended) < share * 200_000 + 80_000


def test_the_literal_patience_ends_it_long_before_the_published_185000(simulation):
    ended = simulation.ends_of(load_recipe("wgan-gp-effnetv2-literal"), simulation.FAST, RUNS)

    assert np.max(ended) < 120_000
    assert np.median(ended) < 90_000


def test_a_constant_rate_is_judged_by_means_of_parts():
    losses = CycleLosses()
    for index, loss in enumerate([4.0, 2.0, 1.0, 5.0]):
        losses = losses.with_loss(loss, ends=index % 2 == 1, restarting=False)

    assert losses.ended == (3.0, 3.0)
    assert losses.without_improvement() == 1


def test_with_restarts_the_end_of_a_cycle_alone_counts():
    losses = CycleLosses()
    for index, loss in enumerate([0.1, 2.0, 0.1, 1.0, 0.1, 3.0]):
        losses = losses.with_loss(loss, ends=index % 2 == 1, restarting=True)

    assert losses.ended == (2.0, 1.0, 3.0)
    assert losses.without_improvement() == 1


@pytest.mark.parametrize(
    ("overrides", "iterations"),
    [
        ([], 200_000),
        (["training.validate_every=300"], 200_000),  # not a divisor of the cycle
        (["schedule.warmup=0.05"], 200_000),
        (["schedule.cycles=7"], 100_000),  # cycles of no whole number of iterations
    ],
)
def test_cycles_end_where_the_rate_is_least(overrides, iterations):
    recipe = load_recipe("wgan-gp-effnetv2", [*overrides, f"training.iterations={iterations}"])

    ends = [each for each in range(1, iterations + 1) if ends_cycle(recipe.schedule, recipe.training, each)]

    assert len(ends) == recipe.schedule.cycles
    assert ends[-1] == iterations
    for end in ends[:-1]:
        assert rate_fraction(recipe.schedule, end - 1, iterations) == pytest.approx(0.01, abs=1e-4)
        assert rate_fraction(recipe.schedule, end, iterations) == pytest.approx(1, abs=1e-3)


def test_a_short_run_validates_no_more_often_than_its_recipe_says():
    recipe = load_recipe("wgan-gp-effnetv2", ["training.iterations=8000"])  # cycles of 200 iterations

    ends = [each for each in range(1, 8001) if ends_cycle(recipe.schedule, recipe.training, each)]

    assert ends == list(range(600, 8000, 600))
    assert recipe.training.validate_every == 500


def test_before_the_first_cycle_has_ended_nothing_is_judged():
    assert CycleLosses().without_improvement() == 0
    assert CycleLosses((math.inf,)).without_improvement() == 0

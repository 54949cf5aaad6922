"""The learning rate against torch's own scheduler."""

from __future__ import annotations

import pytest
import torch

from ldctpipe.errors import UsageError
from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.schema import Schedule
from ldctpipe.training.schedule import rate_fraction


def test_it_is_torchs_cosine_annealing_with_warm_restarts():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=20, eta_min=0.01)
    schedule = Schedule(name="cosine_warm_restarts", cycles=5, final_fraction=0.01)

    for iteration in range(100):
        assert rate_fraction(schedule, iteration, 100) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


def test_constant():
    assert rate_fraction(Schedule(name="constant", cycles=5, final_fraction=0.1), 77, 100) == 1.0


def test_harmonic_is_the_first_rate_over_the_number_of_the_epoch():
    schedule = Schedule(name="harmonic", cycles=40, final_fraction=1 / 40)

    rates = [rate_fraction(schedule, iteration, 400) for iteration in range(400)]

    assert rates == pytest.approx([1 / (iteration // 10 + 1) for iteration in range(400)])


def test_harmonic_goes_on_from_a_later_epoch():
    schedule = Schedule(name="harmonic", cycles=30, final_fraction=11 / 40)

    rates = [rate_fraction(schedule, iteration, 300) for iteration in range(300)]

    assert rates == pytest.approx([11 / (iteration // 10 + 11) for iteration in range(300)])


def test_cosine_begins_after_the_flat_share():
    schedule = Schedule(name="cosine_warm_restarts", flat=0.25, final_fraction=0.1)
    alone = Schedule(name="cosine_warm_restarts", final_fraction=0.1)

    assert [rate_fraction(schedule, iteration, 400) for iteration in range(100)] == [1.0] * 100
    for iteration in range(300):
        later = rate_fraction(schedule, 100 + iteration, 400)
        assert later == pytest.approx(rate_fraction(alone, iteration, 300))


@pytest.mark.parametrize("name", ["uformer-b", "ct-mamba"])
def test_a_cosine_falls_after_the_rise_over_the_rest_of_the_run(name):
    recipe = load_recipe(name)
    full = recipe.optimizer.generator_learning_rate
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=full)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=247, eta_min=1e-6)
    rates = [full * rate_fraction(recipe.schedule, epoch, 250) for epoch in range(250)]

    assert rates[:3] == pytest.approx([full / 3, full * 2 / 3, full])
    for rate in rates[3:]:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


def test_steps_fall_from_the_rate_that_they_find():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, [20, 40, 60], gamma=0.5)
    schedule = Schedule(name="steps", steps=(0.2, 0.4, 0.6), step_factor=0.5)

    for iteration in range(100):
        assert rate_fraction(schedule, iteration, 100) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert rate_fraction(schedule, 99, 100) == 0.125  # a public RED-CNN halves the first rate each time


def test_harmonic_down_to_nothing_is_refused():
    with pytest.raises(UsageError, match="never reaches a final_fraction of 0"):
        load_recipe("cpce-2d", ["schedule.final_fraction=0.0"])

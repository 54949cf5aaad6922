"""The learning rate against torch's own scheduler."""

from __future__ import annotations

import pytest
import torch

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

"""Adversarial losses against critics whose gradient is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ldctpipe.losses.adversarial import generator_adversarial, gradient_penalty, wasserstein_distance


class LinearCritic(nn.Module):
    """Scores ⟨weight, image⟩: the gradient is `weight` everywhere."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).sum(dim=(1, 2, 3))


class MatrixCritic(LinearCritic):
    """The same score through a matrix product, which autocast would run in its low precision."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x.flatten(1), self.weight.flatten()[None]).squeeze(1)


class SquareCritic(nn.Module):
    """Scores ‖image‖²/2: the gradient is the image itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.square().sum(dim=(1, 2, 3)) / 2


@pytest.mark.parametrize("norm", [0.0, 1.0, 3.0])
def test_penalty_of_a_linear_critic(norm):
    weight = torch.full((1, 4, 4), norm / 4)
    real, generated = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4)

    penalty = gradient_penalty(LinearCritic(weight), real, generated, torch.rand(5))

    assert float(penalty.detach()) == pytest.approx((norm - 1) ** 2, abs=1e-6)


def test_penalty_looks_at_per_sample_interpolates():
    real, generated = torch.full((2, 1, 1, 1), 4.0), torch.full((2, 1, 1, 1), 2.0)

    penalty = gradient_penalty(SquareCritic(), real, generated, torch.tensor([0.0, 1.0]))

    assert float(penalty.detach()) == pytest.approx(((2 - 1) ** 2 + (4 - 1) ** 2) / 2)


def test_penalty_reaches_the_critics_weights():
    critic = LinearCritic(torch.full((1, 2, 2), 1.0))  # gradient norm 2, so d/dw (‖w‖ − 1)² = 2 (‖w‖ − 1) w/‖w‖ = w

    gradient_penalty(critic, torch.rand(3, 1, 2, 2), torch.rand(3, 1, 2, 2), torch.rand(3)).backward()

    assert torch.allclose(critic.weight.grad, torch.ones(1, 2, 2))


def test_wasserstein_terms():
    real, generated = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 0.0])

    assert float(wasserstein_distance(real, generated)) == 2.5
    assert float(generator_adversarial(generated)) == 0.5


def test_penalty_stays_float32_under_autocast():
    weight = torch.full((1, 8, 8), math.sqrt(2) / 8)  # bfloat16 would round this norm to 1.4140625 ± 2⁻⁸

    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty = gradient_penalty(MatrixCritic(weight), torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8), torch.rand(2))

    assert penalty.dtype == torch.float32
    assert float(penalty.detach()) == pytest.approx((math.sqrt(2) - 1) ** 2, rel=1e-5)

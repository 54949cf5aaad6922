"""Least-squares adversarial losses against numbers by hand."""

from __future__ import annotations

import pytest
import torch

from ldctpipe.losses.least_squares import least_squares_discriminator, least_squares_generator


def test_discriminator_wants_ones_for_real_and_zeros_for_generated():
    real, generated = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, -2.0, 1.0]])

    assert float(least_squares_discriminator(real, generated)) == pytest.approx((4 / 2 + 5 / 3) / 2)
    assert float(least_squares_discriminator(torch.ones(2, 1, 6, 6), torch.zeros(2, 1, 6, 6))) == 0


def test_generator_wants_ones():
    scores = torch.tensor([[0.0, 1.0, 3.0, 1.0]], requires_grad=True)

    loss = least_squares_generator(scores)
    loss.backward()

    assert loss.item() == pytest.approx(5 / 4)
    assert scores.grad.tolist() == [[-0.5, 0, 1, 0]]  # 2(s − 1)/n

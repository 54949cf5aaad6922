"""Least-squares adversarial losses (Mao 2017, arXiv 1611.04076), as CycleGAN weighs them (arXiv 1703.10593)."""

from __future__ import annotations

from torch import Tensor


def least_squares_discriminator(real_scores: Tensor, generated_scores: Tensor) -> Tensor:
    """Return what the discriminator minimises: E[(D(real) − 1)²]/2 + E[D(generated)²]/2, over any shape of scores."""
    return (least_squares(real_scores, 1.0) + least_squares(generated_scores, 0.0)) / 2


def least_squares_generator(generated_scores: Tensor) -> Tensor:
    """Return what the generator minimises: E[(D(generated) − 1)²]."""
    return least_squares(generated_scores, 1.0)


def least_squares(scores: Tensor, wanted: float) -> Tensor:
    """Return E[(score − wanted)²], the term that both are made of, over any shape of scores."""
    return (scores.float() - wanted).square().mean()

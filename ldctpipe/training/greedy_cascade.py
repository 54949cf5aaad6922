"""Levels of a cascade trained one after the other, each on what those before it make (Wu 2017, arXiv 1705.04267)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ldctpipe.losses.pixel import mean_squared
from ldctpipe.training.algorithm import Algorithm, Batch, Parts


class GreedyCascade(Algorithm):
    """A `Cascade` whose levels each get an equal share of the iterations; those before stay as they are.

    Each level starts with a learning-rate schedule of its own where the recipe's `schedule.cycles` are as many as its
    levels. Every level is trained to give the full dose: one of the difference image learns the same.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        if self.recipe.algorithm.name != "greedy_cascade":
            raise ValueError("a cascade needs its options")
        self._perceptual_levels = self.recipe.algorithm.perceptual_levels
        network: Any = parts.generator
        self._cascade = network.to(self.fabric.device)
        rate = self.recipe.optimizer.generator_learning_rate
        self._levels = [
            self.optimization.add(f"level_{number}", level, rate).network
            for number, level in enumerate(self._cascade.levels, start=1)
        ]

    @property
    def denoiser(self) -> Any:
        """The cascade with all levels, of which the later may be untrained as yet."""
        return self._cascade

    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, iteration: int = 0, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Train the level whose turn it is on one batch; return its loss and terms."""
        self.optimization.set_rates(rate_fraction)
        index = min(len(self._levels) * iteration // self.recipe.training.iterations, len(self._levels) - 1)
        low_dose, full_dose = next_batch()
        self._cascade.eval()  # what a level learns from is what those before it will give
        with torch.no_grad(), self.fabric.autocast():
            seen = self._cascade.input_of(index, low_dose)
        output = self._levels[index].train()(seen).float()
        if index < self._perceptual_levels:
            with self.fabric.autocast():
                terms = self.image_loss.terms(output, full_dose)
            total = self.image_loss.total(terms)
        else:
            total = mean_squared(output, full_dose)
            terms = {"loss_squared": total}
        self.optimization.step(total, f"level_{index + 1}")
        scalars = {"loss_generator": total, **terms}
        if measure_gradients:
            scalars["gradient_norm_generator"] = self.optimization.gradient_norm(f"level_{index + 1}")
        return {name: value.detach() for name, value in scalars.items()}

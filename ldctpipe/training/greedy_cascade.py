"""Levels of a cascade trained one after the other, each on what those before it make (Wu 2017, arXiv 1705.04267)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ldctpipe.errors import UsageError
from ldctpipe.losses.pixel import mean_squared
from ldctpipe.training.algorithm import Algorithm, Batch, Parts


class GreedyCascade(Algorithm):
    """A `Cascade` whose levels each get their share of the iterations; those before stay as they are.

    Every level is trained to give the full dose: one of the difference image learns the same.
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
        self._shares = self.recipe.algorithm.shares or (1.0,) * len(self._levels)
        if len(self._shares) != len(self._levels):
            fault = f"algorithm.shares: {len(self._shares)} shares for {len(self._levels)} levels"
            raise UsageError(None, fault, "give one a level, or none for equal ones")

    @property
    def denoiser(self) -> Any:
        """The cascade, which runs the levels that were trained so far."""
        return self._cascade

    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, iteration: int = 0, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Train the level whose turn it is on one batch; return its loss and terms."""
        self.optimization.set_rates(rate_fraction)
        index = self._level_at(iteration)
        self._cascade.running.fill_(index + 1)
        low_dose, full_dose = next_batch()
        self._cascade.eval()  # what a level learns from is what those before it will give
        with torch.no_grad(), self.fabric.autocast():
            seen = self._cascade.input_of(index, low_dose)
        output = self._levels[index].train()(seen).float()
        if index < self._perceptual_levels:
            terms = self.image_loss.terms(output, full_dose)
            total = self.image_loss.total(terms)
        else:
            total = mean_squared(output, full_dose)
            terms = {"loss_squared": total}
        self.optimization.step(total, f"level_{index + 1}")
        return self.told({"loss_generator": total, **terms}, measure_gradients, f"level_{index + 1}")

    def state_dict(self) -> dict[str, Any]:
        """Return weights, moments, and how many levels run."""
        return {**super().state_dict(), "running": self._cascade.running.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        super().load_state_dict(state)
        self._cascade.running.copy_(state["running"])

    def _level_at(self, iteration: int) -> int:
        """Return the index of the level that is trained in a 0-based iteration."""
        done = iteration / self.recipe.training.iterations * sum(self._shares)
        ends = list(accumulate(self._shares))[:-1]  # the last level has all that is left
        return sum(done >= end for end in ends)

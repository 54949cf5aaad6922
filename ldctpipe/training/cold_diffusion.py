"""One training step of cold diffusion: undo a degradation towards the low dose, then once more from one's own estimate.

Gao 2024, doi 10.1109/TMI.2023.3320812 (CoreDiff), algorithm 1. The time is drawn once a batch, as in its public code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ldctpipe.training.algorithm import Algorithm, Batch, Parts

_TIME = "time"


class ColdDiffusion(Algorithm):
    """A network with `degrade` and `estimate`; what denoises is the moving average of its weights."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        if self.recipe.algorithm.name != "cold_diffusion":
            raise ValueError("cold diffusion needs its options")
        self._options = self.recipe.algorithm
        rate = self.recipe.optimizer.generator_learning_rate
        network: Any = self.optimization.add("generator", parts.generator, rate).network
        self._network = network
        self._network.mark_forward_method("estimate")
        self.average_weights()
        self.generators = {_TIME: torch.Generator()}

    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, iteration: int = 0, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Train on one batch at one random time; return the losses of both estimates."""
        self.optimization.set_rates(rate_fraction)
        bare: Any = self.networks()["generator"]
        low_dose, full_dose = next_batch()
        time = int(torch.randint(bare.timesteps, (), generator=self.generators[_TIME]))
        at = torch.full((len(low_dose),), time, device=low_dose.device)
        first = self._network.estimate(bare.degrade(full_dose, low_dose, at), low_dose, at).float()
        losses = {"loss_first": (first - full_dose).square().mean()}
        if iteration >= self._options.second_step_from * self.recipe.training.iterations:
            second = self._again(first, low_dose, at) if time else first
            losses["loss_second"] = (second - full_dose).square().mean()
        total = torch.stack(list(losses.values())).sum() / 2
        self.optimization.step(total, "generator")
        self.update_average(iteration)
        return self.told({"loss_generator": total, **losses}, measure_gradients)

    def _again(self, first: Tensor, low_dose: Tensor, at: Tensor) -> Tensor:
        """Return the estimate one step later, from the network's own first one; gradients reach both."""
        bare: Any = self.networks()["generator"]
        estimate: Tensor = self._network.estimate(bare.degrade(first, low_dose, at - 1), low_dose, at - 1, first)
        return estimate.float()

"""One training step of cold diffusion: undo a degradation towards the low dose, then once more from one's own estimate.

Gao 2024, doi 10.1109/TMI.2023.3320812 (CoreDiff), algorithm 1. The time is drawn once a batch, as in its public code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ldctpipe.training.algorithm import Algorithm, Batch, Parts
from ldctpipe.training.averaging import WeightAverage

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
        self._average = WeightAverage(self.networks()["generator"], self._options, self.recipe.training.iterations)
        self.generators = {_TIME: torch.Generator()}

    @property
    def denoiser(self) -> nn.Module:
        """The average of the weights once there is one, the network itself before."""
        return self._average.network

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
        self._average.update(iteration)
        return self.told({"loss_generator": total, **losses}, measure_gradients)

    def _again(self, first: Tensor, low_dose: Tensor, at: Tensor) -> Tensor:
        """Return the estimate one step later, from the network's own first one; gradients reach both."""
        bare: Any = self.networks()["generator"]
        estimate: Tensor = self._network.estimate(bare.degrade(first, low_dose, at - 1), low_dose, at - 1, first)
        return estimate.float()

    def state_dict(self) -> dict[str, Any]:
        """Return weights, their average and moments."""
        return {**super().state_dict(), "average": self._average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        super().load_state_dict(state)
        self._average.load_state_dict(state["average"])

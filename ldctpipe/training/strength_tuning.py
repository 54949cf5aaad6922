"""A filter without weights: of the strengths that it lists, the one with the least squared error on pairs is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ldctpipe.training.algorithm import Algorithm, Batch, Parts


class StrengthTuning(Algorithm):
    """A network with a buffer `strength` and a `grid` of values to try, all of them on every batch."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        network: Any = parts.generator
        self._filter = network.to(self.fabric.device)
        self._errors = torch.zeros(len(self._filter.grid), dtype=torch.float64)

    def networks(self) -> dict[str, nn.Module]:
        """Return the filter."""
        return {"generator": self._filter}

    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, iteration: int = 0, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Try all strengths on one batch; return the mean squared error so far and the strength that gave it."""
        low_dose, full_dose = next_batch()
        for index, strength in enumerate(self._filter.grid):
            self._filter.strength.fill_(strength)
            self._errors[index] += (self._filter(low_dose) - full_dose).square().mean().cpu().double()
        best = int(self._errors.argmin())
        self._filter.strength.fill_(self._filter.grid[best])
        mean = self._errors[best] / (iteration + 1)
        return {"loss_squared": low_dose.new_tensor(float(mean)), "strength": self._filter.strength.clone()}

    def state_dict(self) -> dict[str, Any]:
        """Return the errors so far and the strength."""
        return {"errors": self._errors.clone(), "filter": self._filter.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._errors = state["errors"].clone()
        self._filter.load_state_dict(state["filter"])

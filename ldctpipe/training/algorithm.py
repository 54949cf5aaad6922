"""What the training loop asks of an algorithm: the part in which methods differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]  # low dose, full dose: (batch, 1, rows, columns) in [0, 1]


class Algorithm(Protocol):
    """Networks and optimizers of a method, and its step."""

    generators: dict[str, torch.Generator]  # its randomness by purpose; differs by rank

    @property
    def denoiser(self) -> nn.Module:
        """The network that the bundle will hold, bare: no wrapper of ranks, precision or compilation."""

    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Train one iteration and return scalars on the device; `measure_gradients` adds norms of gradients."""

    def learning_rates(self) -> dict[str, float]:
        """Return the current learning rate by network."""

    def networks(self) -> dict[str, nn.Module]:
        """Return the trained networks by name, bare."""

    def divergence(self, scalars: dict[str, float]) -> str | None:
        """Return what in these means of one moment says that the training has diverged, or None."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, but batches and randomness."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""

"""What the training loop asks of an algorithm: the part in which methods differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ldctpipe.losses.image_terms import ImageLoss
from ldctpipe.losses.perceptual import PerceptualLoss
from ldctpipe.recipes.schema import Averaged, Recipe
from ldctpipe.training.averaging import WeightAverage
from ldctpipe.training.optimization import Optimization

# Low dose (batch, 2 · context + 1, rows, columns) and full dose (batch, 1, rows, columns), both in [0, 1].
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Parts:
    """What an algorithm is put together from: bare networks and losses on no device yet."""

    fabric: Fabric
    recipe: Recipe
    generator: nn.Module
    critic: nn.Module | None
    image_loss: ImageLoss
    perceptual: PerceptualLoss | None
    # Further networks as the recipe has them, with weights of their own, for algorithms that train two of a kind.
    new_generator: Callable[[], nn.Module]
    new_critic: Callable[[], nn.Module]


class Algorithm(ABC):
    """Networks and optimizers of a method, and its step.

    `generators` is its randomness by purpose, which differs by rank; `optimization` holds at least a network
    "generator", which is what the bundle gets; an algorithm that calls `average_weights` gives their average instead.
    """

    def __init__(self, parts: Parts) -> None:
        self.fabric, self.recipe, self.perceptual = parts.fabric, parts.recipe, parts.perceptual
        self.image_loss = parts.image_loss
        self.generators: dict[str, torch.Generator] = {}
        self.optimization = Optimization(parts.fabric, parts.recipe.optimizer)
        self._average: WeightAverage | None = None
        if self.perceptual is not None:
            self.perceptual.to(parts.fabric.device)

    @abstractmethod
    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, iteration: int = 0, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Train one iteration, counted from 0, and return scalars on the device.

        The learning rates are `rate_fraction` of the full ones. `measure_gradients` adds norms of gradients.
        """

    def told(
        self, scalars: dict[str, Tensor], measure_gradients: bool, network: str = "generator"
    ) -> dict[str, Tensor]:
        """Return what `step` returns: these scalars, and where asked for the norm of what `network` last took."""
        if measure_gradients:
            scalars = {**scalars, "gradient_norm_generator": self.optimization.gradient_norm(network)}
        return {name: value.detach() for name, value in scalars.items()}

    @property
    def denoiser(self) -> nn.Module:
        """The network that the bundle will hold, bare: no wrapper of ranks, precision or compilation.

        That is the generator, or the average of its weights once the recipe has one.
        """
        return self._average.network if self._average else self.networks()["generator"]

    def average_weights(self) -> None:
        """Average the generator's weights from now on, as the recipe has it; `update_average` goes on."""
        options = self.recipe.algorithm
        if not isinstance(options, Averaged):
            raise ValueError(f"{options.name} has no options of averaged weights")
        self._average = WeightAverage(self.networks()["generator"], options, self.recipe.training.iterations)

    def update_average(self, iteration: int) -> None:
        """Take weights over where it is time to, after the iteration of this 0-based number."""
        if self._average:
            self._average.update(iteration)

    def learning_rates(self) -> dict[str, float]:
        """Return the current learning rate by network."""
        return self.optimization.learning_rates()

    def networks(self) -> dict[str, nn.Module]:
        """Return the trained networks by name, bare."""
        return self.optimization.networks()

    def divergence(self, scalars: dict[str, float]) -> str | None:
        """Return what in these means of one moment says that the training has diverged, or None.

        Losses that are no numbers need no word here: the loop looks for those itself.
        """
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, but batches and randomness."""
        average = {"average": self._average.state_dict()} if self._average else {}
        return {**self.optimization.state_dict(), **average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.optimization.load_state_dict(state)
        if self._average:
            self._average.load_state_dict(state["average"])

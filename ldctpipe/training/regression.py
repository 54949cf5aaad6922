"""One training step of plain regression: one network, one batch, a weighted sum of distances to the full dose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ldctpipe.training.algorithm import Algorithm, Batch, Parts


class Regression(Algorithm):
    """A network that learns to give the full dose.

    With `domain` "bands" the losses compare wavelet bands: its `denoised_bands`, and `bands` of the full dose.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        if self.recipe.algorithm.name != "regression":
            raise ValueError("regression needs its options")
        self._on_bands = self.recipe.algorithm.domain == "bands"
        rate = self.recipe.optimizer.generator_learning_rate
        generator: Any = self.optimization.add("generator", parts.generator, rate).network
        self.generator = generator
        self.average_weights()
        if self._on_bands:
            self.generator.mark_forward_method("denoised_bands")

    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, iteration: int = 0, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Train on one batch; return the loss and its terms, with `measure_gradients` the norm of its gradient too."""
        self.optimization.set_rates(rate_fraction)
        low_dose, full_dose = next_batch()
        terms = self.image_loss.terms(*self._compared(low_dose, full_dose))
        total = self.image_loss.total(terms)
        self.optimization.step(total, "generator")
        self.update_average(iteration)
        return self.told({"loss_generator": total, **terms}, measure_gradients)

    def _compared(self, low_dose: Tensor, full_dose: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network makes of the low dose, and what it should be."""
        if not self._on_bands:
            return self.generator(low_dose).float(), full_dose
        bare: Any = self.networks()["generator"]
        return self.generator.denoised_bands(bare.bands(low_dose)).float(), bare.bands(full_dose)

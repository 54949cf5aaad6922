"""One training step of plain regression: one network, one batch, a weighted sum of distances to the full dose."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ldctpipe.training.algorithm import Algorithm, Batch, Parts


class Regression(Algorithm):
    """A network that learns to give the full dose."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        rate = self.recipe.optimizer.generator_learning_rate
        self.generator = self.optimization.add("generator", parts.generator, rate).network

    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, iteration: int = 0, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Train on one batch; return the loss and its terms, with `measure_gradients` the norm of its gradient too."""
        self.optimization.set_rates(rate_fraction)
        low_dose, full_dose = next_batch()
        terms = self.image_loss.terms(self.generator(low_dose).float(), full_dose)
        total = self.image_loss.total(terms)
        self.optimization.step(total, "generator")
        scalars = {"loss_generator": total, **terms}
        if measure_gradients:
            scalars["gradient_norm_generator"] = self.optimization.gradient_norm("generator")
        return {name: value.detach() for name, value in scalars.items()}

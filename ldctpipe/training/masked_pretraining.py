"""A network that first restores hidden squares of low-dose slices, without any full dose, and is then tuned on pairs.

Wang 2024, doi 10.1109/JBHI.2024.3454979 (LoMAE), after He 2022, arXiv 2111.06377: the loss counts hidden pixels alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ldctpipe.data.masking import square_mask
from ldctpipe.data.windows import to_device
from ldctpipe.training.algorithm import Algorithm, Batch, Parts

_MASKS = "masks"


class MaskedPretraining(Algorithm):
    """A network with `reconstruct(image, mask)` besides its call, in two phases of one training."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        if self.recipe.algorithm.name != "masked_pretraining":
            raise ValueError("masked pre-training needs its options")
        self._options = self.recipe.algorithm
        rate = self.recipe.optimizer.generator_learning_rate
        network: Any = self.optimization.add("generator", parts.generator, rate).network
        self._network = network
        self._network.mark_forward_method("reconstruct")
        self.generators = {_MASKS: torch.Generator()}

    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, iteration: int = 0, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Train on one batch in the phase whose turn it is; return the loss and its terms."""
        self.optimization.set_rates(rate_fraction)
        low_dose, full_dose = next_batch()
        if iteration < self._options.pretraining * self.recipe.training.iterations:
            terms = {"loss_hidden": self._hidden_loss(low_dose)}
            total = terms["loss_hidden"]
        else:
            terms = self.image_loss.terms(self._network(low_dose).float(), full_dose)
            total = self.image_loss.total(terms)
        self.optimization.step(total, "generator")
        return self.told({"loss_generator": total, **terms}, measure_gradients)

    def _hidden_loss(self, low_dose: Tensor) -> Tensor:
        """Return the mean squared error at hidden pixels."""
        options = self._options
        mask = square_mask(low_dose.shape, options.mask_patch, options.mask, self.generators[_MASKS])
        hidden = to_device(mask, low_dose.device)
        drawn = self._network.reconstruct(low_dose, hidden).float()
        return ((drawn - low_dose).square() * hidden).sum() / hidden.sum().clamp(min=1)

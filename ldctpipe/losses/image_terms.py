"""The terms of a denoising network's loss that compare its image with the full dose, by the names in recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ldctpipe.losses.image_gradient import gradient_difference
from ldctpipe.losses.pixel import charbonnier, mean_absolute, mean_squared, negative_psnr
from ldctpipe.losses.structural import multi_scale_structural_loss

Term = Callable[[Tensor, Tensor], Tensor]
TERMS: dict[str, Term] = {
    "pixel": mean_absolute,
    "squared": mean_squared,
    "charbonnier": charbonnier,
    "psnr": negative_psnr,
    "structural": multi_scale_structural_loss,
    "gradient": gradient_difference,
}


class ImageLoss:
    """A weighted sum of terms of two batches (batch, channels, rows, columns) in [0, 1].

    `weights` may hold names that are no image terms. Those of weight 0 are not computed, but for `pixel`, which is
    told for comparison. `perceptual` is the term of that name, where there is one.
    """

    def __init__(self, weights: Mapping[str, float], perceptual: nn.Module | None = None) -> None:
        self._perceptual = perceptual
        wanted = [name for name in TERMS if weights.get(name, 0) > 0 or name == "pixel"]
        every = wanted if perceptual is None else [*wanted, "perceptual"]
        self._weights = {name: float(weights.get(name, 0)) for name in every}

    def terms(self, output: Tensor, target: Tensor, *, again: bool = False) -> dict[str, Tensor]:
        """Return each term before its weight, as "loss_NAME"; `again` where they are gone back through twice.

        They are computed in float32, under autocast too: a pixel's steps in bfloat16 would be 6 HU.
        """
        with torch.autocast(output.device.type, enabled=False):
            terms = {f"loss_{name}": TERMS[name](output, target) for name in self._weights if name in TERMS}
            if self._perceptual is not None:
                network = self._perceptual.forward if again else self._perceptual
                terms["loss_perceptual"] = network(output, target)
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of what `terms` gave."""
        return torch.stack([weight * terms[f"loss_{name}"] for name, weight in self._weights.items()]).sum()

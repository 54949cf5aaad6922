"""Regression that also compares what was taken away with the true noise, in profiles that two networks learn.

Li 2025, doi 10.1016/j.compmedimag.2025.102595 (CT-Mamba), "Deep NPS loss". The two are trained with the denoiser and by
the same loss, as in the public code, so that they can make it small by a constant profile.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ldctpipe.data.seeds import seed_for
from ldctpipe.models.deep_nps import DeepNps
from ldctpipe.training.algorithm import Algorithm, Batch, Parts

_SPECTRA = ("spectrum_removed", "spectrum_true")


class NoiseSpectrum(Algorithm):
    """A denoiser and two networks that make profiles of noise images, all moved by one loss."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        if self.recipe.algorithm.name != "noise_spectrum":
            raise ValueError("a loss on noise spectra needs its options")
        self._options = self.recipe.algorithm
        rate = self.recipe.optimizer.generator_learning_rate
        self.generator = self.optimization.add("generator", parts.generator, rate).network
        self._spectra = [self.optimization.add(name, self._new(name), rate).network for name in _SPECTRA]

    def _new(self, name: str) -> DeepNps:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(self.recipe.seed, "weights", name))
            return DeepNps()

    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, iteration: int = 0, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Train on one batch; return the loss and its terms, those of the profiles once they have begun."""
        self.optimization.set_rates(rate_fraction)
        low_dose, full_dose = next_batch()
        output = self.generator(low_dose).float()
        terms = self.image_loss.terms(output, full_dose)
        total = self.image_loss.total(terms)
        stepped = ["generator"]
        if iteration >= self._options.begins * self.recipe.training.iterations:
            compared = self._profile_terms(low_dose, output, full_dose)
            weights = (self._options.profile, self._options.correlation)
            total = total + torch.stack([w * term for w, term in zip(weights, compared.values(), strict=True)]).sum()
            terms |= compared
            stepped += _SPECTRA
        self.optimization.step(total, *stepped)
        return self.told({"loss_generator": total, **terms}, measure_gradients)

    def _profile_terms(self, low_dose: Tensor, output: Tensor, full_dose: Tensor) -> dict[str, Tensor]:
        centre = low_dose.shape[1] // 2
        image = low_dose[:, centre : centre + 1]
        removed, true = (
            network(image - each) for network, each in zip(self._spectra, (output, full_dose), strict=True)
        )
        return {
            "loss_profile": (removed - true).abs().mean(),
            "loss_correlation": (1 - torch.nn.functional.cosine_similarity(_centred(removed), _centred(true))).mean(),
        }


def _centred(profiles: Tensor) -> Tensor:
    """Return profiles minus their means, of which the cosine of the angle is Pearson's correlation."""
    return profiles - profiles.mean(dim=1, keepdim=True)

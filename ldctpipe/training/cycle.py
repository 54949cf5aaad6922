"""One training step on unpaired images: two generators, two discriminators, there and back (Zhu 2017, 1703.10593).

Least-squares adversarial losses, L1 cycle consistency both ways, L1 identity where an image has the wanted dose
already, and a pool of images generated before. Its perceptual term, where the recipe has one, holds what is denoised
to the features of what it was made from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ldctpipe.losses.least_squares import least_squares_discriminator, least_squares_generator
from ldctpipe.losses.pixel import mean_absolute
from ldctpipe.training.algorithm import Algorithm, Batch, Parts
from ldctpipe.training.image_pool import ImagePool

_GENERATORS, _DISCRIMINATORS = ("generator", "backward_generator"), ("discriminator", "backward_discriminator")


class Cycle(Algorithm):
    """One generator goes from low to full dose, the backward one from full to low; each has its discriminator."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        rates, options = self.recipe.optimizer, self.recipe.algorithm
        if parts.critic is None or rates.critic_learning_rate is None or options.name != "cycle":
            raise ValueError("cycle-consistent training needs discriminators and its options")
        self._options = options
        bare = dict(
            zip(
                (*_GENERATORS, *_DISCRIMINATORS),
                (parts.generator, parts.new_generator(), parts.critic, parts.new_critic()),
                strict=True,
            )
        )
        rate = dict.fromkeys(_GENERATORS, rates.generator_learning_rate)
        rate |= dict.fromkeys(_DISCRIMINATORS, rates.critic_learning_rate)
        self._networks = {
            name: self.optimization.add(name, network, rate[name]).network for name, network in bare.items()
        }
        self._pools = {name: ImagePool(options.pool_size, torch.Generator()) for name in _DISCRIMINATORS}
        self.generators = {f"pool of {name}": pool.generator for name, pool in self._pools.items()}

    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, iteration: int = 0, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Train both generators, then both discriminators, on one unpaired batch; return the losses."""
        self.optimization.set_rates(rate_fraction)
        low_dose, full_dose = next_batch()
        images = {"discriminator": full_dose, "backward_discriminator": low_dose}
        for name in _DISCRIMINATORS:
            self._networks[name].requires_grad_(False)  # spares their weight gradients in the generators' pass
        terms, generated = self._generator_terms(low_dose, full_dose)
        total = self._total(terms)
        self.optimization.step(total, *_GENERATORS)
        scalars = {"loss_generator": total, **terms}
        for name in _DISCRIMINATORS:
            self._networks[name].requires_grad_(True)
            seen = self._pools[name].query(generated[name].detach())
            scalars[f"loss_{name}"] = self._discriminator_loss(name, images[name], seen)
            self.optimization.step(scalars[f"loss_{name}"], name)
        return self.told(scalars, measure_gradients)

    def _generator_terms(self, low_dose: Tensor, full_dose: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the terms of the generators' loss, and what each discriminator is to judge."""
        denoise, degrade = (self._networks[name] for name in _GENERATORS)
        denoised, degraded = denoise(low_dose).float(), degrade(full_dose).float()
        terms = {
            "loss_adversarial": self._judged("discriminator", denoised)
            + self._judged("backward_discriminator", degraded),
            "loss_cycle": mean_absolute(degrade(denoised).float(), low_dose)
            + mean_absolute(denoise(degraded).float(), full_dose),
        }
        if self._options.identity:
            terms["loss_identity"] = mean_absolute(denoise(full_dose).float(), full_dose) + mean_absolute(
                degrade(low_dose).float(), low_dose
            )
        if self.perceptual is not None:
            terms["loss_perceptual"] = self.perceptual(denoised, low_dose)
        return terms, {"discriminator": denoised, "backward_discriminator": degraded}

    def _total(self, terms: dict[str, Tensor]) -> Tensor:
        losses, options = self.recipe.losses, self._options
        weights = {
            "loss_adversarial": losses.adversarial,
            "loss_cycle": options.cycle,
            "loss_identity": options.identity,
            "loss_perceptual": losses.perceptual,
        }
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def _judged(self, name: str, image: Tensor) -> Tensor:
        return least_squares_generator(self.networks()[name](image))

    def _discriminator_loss(self, name: str, real: Tensor, generated: Tensor) -> Tensor:
        discriminator: nn.Module = self._networks[name]
        return least_squares_discriminator(discriminator(real), discriminator(generated))

    def state_dict(self) -> dict[str, Any]:
        """Return weights, moments and the pools."""
        return {**super().state_dict(), "pools": {name: pool.state_dict() for name, pool in self._pools.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        super().load_state_dict(state)
        for name, pool in self._pools.items():
            pool.load_state_dict(state["pools"][name])

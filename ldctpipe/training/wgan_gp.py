"""One training step of WGAN-GP: several critic updates on fresh batches, then one generator update.

Gulrajani 2017 (arXiv 1704.00028), algorithm 1, with the three-term generator loss of the flagship paper, equation 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ldctpipe.losses.adversarial import generator_adversarial, gradient_penalty, wasserstein_distance
from ldctpipe.losses.perceptual import PerceptualLoss
from ldctpipe.recipes.schema import Recipe

Batch = tuple[Tensor, Tensor]  # low dose, full dose: (batch, 1, rows, columns) in [0, 1]


@dataclass
class WganGp:
    """Networks and optimizers as Fabric set them up, and what one step needs besides."""

    fabric: Fabric
    recipe: Recipe
    generator: nn.Module
    critic: nn.Module
    generator_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    perceptual: PerceptualLoss | None
    mixing: torch.Generator  # draws where between real and generated the penalty looks

    def step(self, next_batch: Callable[[], Batch], rate_fraction: float) -> dict[str, Tensor]:
        """Train on as many fresh batches as the recipe's critic updates plus one; return the losses, on the device."""
        self._set_rates(rate_fraction)
        self.critic.requires_grad_(True)
        for _ in range(self.recipe.algorithm.critic_updates):
            losses = self._update_critic(*next_batch())
        self.critic.requires_grad_(False)  # spares the critic's weight gradients in the generator's backward pass
        return {**losses, **self._update_generator(*next_batch())}

    def _update_critic(self, low_dose: Tensor, full_dose: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            generated = self.generator(low_dose)
        distance = wasserstein_distance(self.critic(full_dose), self.critic(generated))
        mixing = torch.rand(len(full_dose), generator=self.mixing).to(full_dose.device)
        bare_critic = getattr(self.critic, "module", self.critic)  # Fabric's wrapper would turn autocast on again
        penalty = gradient_penalty(bare_critic, full_dose, generated, mixing)
        loss = -distance + self.recipe.algorithm.gradient_penalty * penalty
        self._apply(loss, self.critic_optimizer)
        return {"loss_critic": loss.detach(), "wasserstein": distance.detach(), "gradient_penalty": penalty.detach()}

    def _update_generator(self, low_dose: Tensor, full_dose: Tensor) -> dict[str, Tensor]:
        weights = self.recipe.losses
        generated = self.generator(low_dose)
        terms = {
            "loss_adversarial": generator_adversarial(self.critic(generated)),
            "loss_pixel": (generated - full_dose).abs().mean(),
        }
        loss = weights.adversarial * terms["loss_adversarial"] + weights.pixel * terms["loss_pixel"]
        if self.perceptual is not None:
            with self.fabric.autocast():
                terms["loss_perceptual"] = self.perceptual(generated, full_dose)
            loss = loss + weights.perceptual * terms["loss_perceptual"]
        self._apply(loss, self.generator_optimizer)
        return {"loss_generator": loss.detach(), **{name: term.detach() for name, term in terms.items()}}

    def _apply(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        optimizer.step()

    def _set_rates(self, fraction: float) -> None:
        rates = self.recipe.optimizer
        for group in self.generator_optimizer.param_groups:
            group["lr"] = rates.generator_learning_rate * fraction
        for group in self.critic_optimizer.param_groups:
            group["lr"] = rates.critic_learning_rate * fraction

    def state_dict(self) -> dict[str, object]:
        """Return all that the next step depends on, but the batches."""
        return {
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "mixing": self.mixing.get_state(),
        }

    def load_state_dict(self, state: dict[str, dict]) -> None:  # type: ignore[type-arg]
        """Go on from a state that `state_dict` gave."""
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.mixing.set_state(state["mixing"])  # type: ignore[arg-type]

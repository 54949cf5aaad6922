"""One training step of WGAN-GP: several critic updates on fresh batches, then one generator update.

Gulrajani 2017 (arXiv 1704.00028), algorithm 1, with the three-term generator loss of the flagship paper, equation 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from ldctpipe.data.windows import to_device
from ldctpipe.losses.adversarial import generator_adversarial, gradient_penalty, wasserstein_distance
from ldctpipe.training.algorithm import Algorithm, Batch, Parts

_MIXING = "gradient penalty"


class WganGp(Algorithm):
    """Generator and critic, each with its optimizer.

    With `training.accumulation` above 1, critic and losses take a batch in that many parts, whose gradients add up to
    those of the whole; the generator takes it whole, because its batch norm joins the samples of a batch.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        rates = self.recipe.optimizer
        if parts.critic is None or rates.critic_learning_rate is None or self.recipe.algorithm.name != "wgan_gp":
            raise ValueError("WGAN-GP needs a critic and its options")
        self._options = self.recipe.algorithm
        generator = self.optimization.add("generator", parts.generator, rates.generator_learning_rate)
        critic = self.optimization.add("critic", parts.critic, rates.critic_learning_rate)
        self.generator, self.generator_optimizer = generator.network, generator.optimizer
        self.average_weights()
        self.critic, self.critic_optimizer = critic.network, critic.optimizer
        self.generators = {_MIXING: torch.Generator()}  # draws where between real and generated the penalty looks

    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, iteration: int = 0, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Train on as many fresh batches as the recipe's critic updates plus one; return the losses, on the device.

        With `measure_gradients` the norms of both networks' gradients come too, and those of each weighted term of
        the generator's loss at one generated patch, in the mean over patches: what the weights really balance.
        """
        self.optimization.set_rates(rate_fraction)
        self.critic.requires_grad_(True)
        for _ in range(self._options.critic_updates):
            losses = self.update_critic(*next_batch(), measure_gradients)
        self.critic.requires_grad_(False)  # spares the critic's weight gradients in the generator's backward pass
        losses |= self.update_generator(*next_batch(), measure_gradients)
        self.update_average(iteration)
        return losses

    def update_critic(self, low_dose: Tensor, full_dose: Tensor, measure: bool = False) -> dict[str, Tensor]:
        """Update the critic once; return its losses, and with `measure` the norm of its gradient."""
        mixing = to_device(torch.rand(len(full_dose), generator=self.generators[_MIXING]), full_dose.device)
        with torch.no_grad(), self.fabric.autocast():
            generated = self.networks()["generator"](low_dose).float()
        self.critic_optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for part, share, is_last in self._parts(len(full_dose)):
            with self._synchronising(self.critic, is_last):
                losses = self._critic_losses(full_dose[part], generated[part], mixing[part])
                self.fabric.backward(share * losses["loss_critic"])
            _accumulate(sums, losses, share)
        if measure:
            sums["gradient_norm_critic"] = self._gradient_norm(self.critic)
        self.critic_optimizer.step()
        return sums

    def _critic_losses(self, real: Tensor, generated: Tensor, mixing: Tensor) -> dict[str, Tensor]:
        scores = self.critic(torch.cat((real, generated)))
        distance = wasserstein_distance(*scores.chunk(2))
        bare_critic = self.critic.module  # Fabric's wrapper would turn autocast on again
        penalty = gradient_penalty(bare_critic, real, generated, mixing)  # type: ignore[arg-type]
        loss = -distance + self._options.gradient_penalty * penalty
        return {"loss_critic": loss, "wasserstein": distance, "gradient_penalty": penalty}

    def update_generator(self, low_dose: Tensor, full_dose: Tensor, measure: bool = False) -> dict[str, Tensor]:
        """Update the generator once; return its losses, and with `measure` norms of gradients."""
        generated = self.generator(low_dose)
        image = generated.detach().requires_grad_()  # the losses end here, part by part; the network follows at once
        sums: dict[str, Tensor] = {}
        for part, share, _ in self._parts(len(low_dose)):
            patches = image[part]
            losses = self._generator_losses(patches, full_dose[part], measure)
            norms = self._norms_at(patches, losses) if measure else {}
            self.fabric.backward(share * losses["loss_generator"])
            _accumulate(sums, {**losses, **norms}, share)
        self.generator_optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(generated, gradient=image.grad)
        if measure:
            sums["gradient_norm_generator"] = self._gradient_norm(self.generator)
        self.generator_optimizer.step()
        return sums

    def _generator_losses(self, generated: Tensor, full_dose: Tensor, measure: bool) -> dict[str, Tensor]:
        adversarial = generator_adversarial(self.critic.module(generated))  # type: ignore[operator]
        # A compiled network frees what its backward pass used; measuring goes through it once more.
        terms = self.image_loss.terms(generated, full_dose, again=measure)
        total = self._weight_of("loss_adversarial") * adversarial + self.image_loss.total(terms)
        return {"loss_generator": total, "loss_adversarial": adversarial, **terms}

    def _norms_at(self, patches: Tensor, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the norm of each weighted term's gradient at a patch, in the mean over patches (batch, 1, …)."""
        norms, scale = {}, self._scale()
        for name, term in losses.items():
            if name != "loss_generator":
                weighted = scale * self._weight_of(name) * len(patches) * term  # the sum over patches, not their mean
                (gradient,) = torch.autograd.grad(weighted, patches, retain_graph=True)
                norms[name.replace("loss", "gradient_norm")] = gradient.flatten(start_dim=1).norm(dim=1).mean() / scale
        return norms

    def _weight_of(self, term: str) -> float:
        return float(getattr(self.recipe.losses, term.removeprefix("loss_")))

    def _parts(self, batch: int) -> Iterator[tuple[slice, float, bool]]:
        """Yield each part of a batch with its share of it, and whether it is the last."""
        size = -(-batch // self.recipe.training.accumulation)
        for first in range(0, batch, size):
            end = min(first + size, batch)
            yield slice(first, end), (end - first) / batch, end == batch

    def _synchronising(self, network: nn.Module, wanted: bool) -> AbstractContextManager[Any]:
        """Let ranks exchange gradients with the last part of a batch alone."""
        alone = not wanted and self.fabric.world_size > 1
        return self.fabric.no_backward_sync(network, enabled=alone)  # type: ignore[arg-type]

    def _gradient_norm(self, network: nn.Module) -> Tensor:
        """Return the norm of what the optimizer is about to take, which is still scaled under float16."""
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        return torch.nn.utils.get_total_norm(gradients) / self._scale()

    def _scale(self) -> float:
        """Return what float16 multiplies losses with; 1 in other precisions."""
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        return float(scaler.get_scale()) if scaler else 1.0

    def divergence(self, scalars: dict[str, float]) -> str | None:
        """Return why the critic counts as exploded, or gradients as lost: None where neither is so.

        Two patches in [0, 1] are at most `patch_size` apart, which bounds the Wasserstein distance; a critic that
        reports many times that has lost the slope that the penalty holds it to.
        """
        if self._scale() < 1:  # halved at each step whose gradients overflow, which then is left out
            return "float16 overflows at every step"
        most = self.recipe.training.critic_limit * self.recipe.data.patch_size
        distance = scalars["wasserstein"]
        return f"the critic reports a Wasserstein distance of {distance:.3g}" if abs(distance) > most else None


def _accumulate(sums: dict[str, Tensor], values: dict[str, Tensor], share: float) -> None:
    for name, value in values.items():
        sums[name] = sums.get(name, torch.zeros_like(value)) + share * value.detach()

"""One training step with U-Net discriminators of the image and of its gradient (Huang 2021, arXiv 2108.10772, DU-GAN).

Each discriminator gives a score of the whole patch and one of each pixel. To it the full dose is real; what the
generator makes, and the low dose, are not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ldctpipe.data.windows import to_device
from ldctpipe.losses.image_gradient import sobel_magnitude
from ldctpipe.losses.least_squares import least_squares
from ldctpipe.training.algorithm import Algorithm, Batch, Parts

_CUTMIX = "cutmix"
_DOMAINS: dict[str, Callable[[Tensor], Tensor]] = {"image": lambda image: image, "gradient": sobel_magnitude}


class DualDomain(Algorithm):
    """A generator and two discriminators, each updated once an iteration on the same batch.

    What denoises is the moving average of the generator's weights.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        rates, options = self.recipe.optimizer, self.recipe.algorithm
        if parts.critic is None or rates.critic_learning_rate is None or options.name != "dual_domain":
            raise ValueError("dual-domain training needs discriminators and its options")
        self._options = options
        self._adversarial = {"image": self.recipe.losses.adversarial, "gradient": options.gradient_adversarial}
        self.generator = self.optimization.add("generator", parts.generator, rates.generator_learning_rate).network
        self.average_weights()
        bare = {"image": parts.critic, "gradient": parts.new_critic()}
        self.discriminators = {
            domain: self.optimization.add(f"discriminator_{domain}", network, rates.critic_learning_rate).network
            for domain, network in bare.items()
        }
        self.generators = {_CUTMIX: torch.Generator()}  # draws whether two patches are mixed, and where

    def step(
        self, next_batch: Callable[[], Batch], rate_fraction: float, iteration: int = 0, measure_gradients: bool = False
    ) -> dict[str, Tensor]:
        """Train discriminators and generator on one batch; return the losses."""
        self.optimization.set_rates(rate_fraction)
        low_dose, full_dose = next_batch()
        generated = self.generator(low_dose).float()
        scalars: dict[str, Tensor] = {}
        for domain in _DOMAINS:
            loss = self._discriminator_loss(domain, low_dose, full_dose, generated.detach(), iteration)
            self.optimization.step(loss, f"discriminator_{domain}")
            scalars[f"loss_discriminator_{domain}"] = loss
        terms = self.image_loss.terms(generated, full_dose)
        total = self.image_loss.total(terms)
        for domain, view in _DOMAINS.items():
            scores, pixels = self._bare_discriminator(domain)(view(generated))
            adversarial = least_squares(scores, 1.0) + least_squares(pixels, 1.0)
            total = total + self._adversarial[domain] * adversarial
            terms[f"loss_adversarial_{domain}"] = adversarial
        self.optimization.step(total, "generator")
        self.update_average(iteration)
        scalars |= {"loss_generator": total, **terms}
        return self.told(scalars, measure_gradients)

    def _bare_discriminator(self, domain: str) -> nn.Module:
        """The discriminator as the generator's loss sees it: ranks need not exchange gradients that no one takes."""
        return self.networks()[f"discriminator_{domain}"]

    def _discriminator_loss(
        self, domain: str, low_dose: Tensor, full_dose: Tensor, generated: Tensor, iteration: int
    ) -> Tensor:
        view, discriminator = _DOMAINS[domain], self.discriminators[domain]
        centre = low_dose.shape[1] // 2
        images = [view(image) for image in (full_dose, generated, low_dose[:, centre : centre + 1])]
        scores, pixels = (each.float() for each in discriminator(torch.cat(images)))
        parts = zip(scores.chunk(3), pixels.chunk(3), (1.0, 0.0, 0.0), strict=True)
        loss = torch.stack([least_squares(s, wanted) + least_squares(p, wanted) for s, p, wanted in parts]).sum()
        mask = self._mask(full_dose.shape[-1], full_dose.device, iteration)
        return loss if mask is None else loss + self._mixed_loss(discriminator, images, pixels, mask)

    def _mixed_loss(self, discriminator: nn.Module, images: list[Tensor], pixels: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of patches of which `mask` is real, and of how far their pixels are from the two mixed."""
        real, generated, _ = pixels.chunk(3)
        score, mixed = (each.float() for each in discriminator(_mix(images[0], images[1], mask)))
        consistency = (mixed - _mix(real, generated, mask)).square().mean()
        judged = least_squares(score, 0.0) + (mixed - mask).square().mean()
        return judged + self._options.consistency * consistency

    def _mask(self, side: int, device: torch.device, iteration: int) -> Tensor | None:
        """Return where a mixed patch is real, (1, 1, side, side), or None where none is mixed this time (Yun 2019)."""
        draw = torch.rand(4, generator=self.generators[_CUTMIX])
        warm = min(1.0, iteration / self._options.cutmix_warmup) if self._options.cutmix_warmup else 1.0
        if float(draw[0]) >= self._options.cutmix * warm:
            return None
        half = side * torch.sqrt(1 - draw[1]) / 2  # the share of the patch that is replaced is uniform
        (top, left), (bottom, right) = (
            (draw[2:] * side + to_edge).round().clamp(0, side).int().tolist() for to_edge in (-half, half)
        )
        mask = torch.ones(1, 1, side, side)
        mask[..., top:bottom, left:right] = 0
        return to_device(mask, device)


def _mix(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    return mask * first + (1 - mask) * second

"""CoreDiff: cold diffusion from the full-dose to the low-dose slice, and back in ten steps.

Gao, Li, Zhang, Zhang and Shan, IEEE Transactions on Medical Imaging 2024, doi 10.1109/TMI.2023.3320812,
arXiv 2304.01814. The U-Net is CBDNet's (Guo 2019) with the time and the modulation added.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.padding import pad_to_multiple

_TIME_FEATURES = 32


class CoreDiff(nn.Module):
    """Denoises the centre of 2 · `context` + 1 slices: (batch, slices, rows, columns) in [0, 1] to (batch, 1, …).

    `forward` samples: it starts from the low-dose slice and walks `steps` of the `timesteps` times back to the full
    dose, one network pass a step. Times count from 0 to `timesteps` − 1; at the last, the image is the low-dose slice.
    Training calls `degrade` and `estimate`. The neighbouring slices stay low-dose at every step, as published; the
    published clamp of the result to [0, 1] is left to the caller.
    """

    def __init__(self, *, context: int = 1, timesteps: int = 10, steps: int = 10) -> None:
        super().__init__()
        if not 1 <= steps <= timesteps:
            raise ValueError(f"steps has to be from 1 to timesteps ({timesteps}), not {steps}")
        self.context, self.timesteps = context, timesteps
        self.unet = ModulatedUNet(2 * context + 1)
        shares = (1 - torch.linspace(0, timesteps, timesteps) / timesteps).clip(0, 0.999)
        self.full_dose_share: Tensor
        self.register_buffer("full_dose_share", shares, persistent=False)
        self.times = torch.linspace(timesteps - 1, 0, steps, device="cpu").round().int().tolist()

    def forward(self, image: Tensor) -> Tensor:
        x_t, previous = self._centre(image), None
        for time, next_time in zip(self.times, [*self.times[1:], None], strict=True):
            t = torch.full((len(image),), time, device=image.device)
            previous = self.estimate(x_t, image, t, previous)
            if next_time is not None:
                x_t = self._step(x_t, previous, t, torch.full_like(t, next_time))
        assert previous is not None
        return previous

    def degrade(self, full_dose: Tensor, low_dose: Tensor, t: Tensor) -> Tensor:
        """Return x_t = a_t · full + (1 − a_t) · low, whose mean is between both (the paper's degradation operator).

        `full_dose` is (batch, 1, rows, columns), `low_dose` that or a stack of 2 · context + 1 slices, `t` (batch,).
        """
        share = self._share(t)
        return share * full_dose + (1 - share) * self._centre(low_dose)

    def estimate(self, x_t: Tensor, low_dose: Tensor, t: Tensor, previous: Tensor | None = None) -> Tensor:
        """Return the full-dose slice that the network sees in `x_t` (batch, 1, rows, columns) at times `t` (batch,).

        `low_dose` (batch, slices, rows, columns) gives the neighbours. With the estimate of the step before
        (`previous`), that and the low-dose slice modulate the time features, which corrects accumulated errors.
        """
        rows, columns = x_t.shape[-2:]
        stack = torch.cat((low_dose[:, : self.context], x_t, low_dose[:, self.context + 1 :]), dim=1)
        guide = None if previous is None else torch.cat((previous, self._centre(low_dose)), dim=1)
        padded_guide = None if guide is None else pad_to_multiple(guide, 8)
        change = self.unet(pad_to_multiple(stack, 8), t, padded_guide)
        return x_t + change[..., :rows, :columns]

    def _step(self, x_t: Tensor, estimate: Tensor, t: Tensor, next_t: Tensor) -> Tensor:
        """Return the image at `next_t`: the low-dose end that fits x_t and the estimate, degraded less."""
        share = self._share(t)
        low_dose_end = (x_t - share * estimate) / (1 - share)
        return self.degrade(estimate, low_dose_end, next_t)

    def _centre(self, image: Tensor) -> Tensor:
        middle = image.shape[1] // 2
        return image[:, middle : middle + 1]

    def _share(self, t: Tensor) -> Tensor:
        return self.full_dose_share[t].view(-1, 1, 1, 1)


class ModulatedUNet(nn.Module):
    """Predicts the correction to the centre slice; sides have to divide by 8, which the modulation's pooling wants.

    Features of the time are added before four of the five stages. With a guide (batch, 2, rows, columns), each is
    scaled and shifted by what a small network sees in that.
    """

    def __init__(self, slices: int) -> None:
        super().__init__()
        self.time = nn.Sequential(
            nn.Linear(_TIME_FEATURES, 4 * _TIME_FEATURES), nn.GELU(), nn.Linear(4 * _TIME_FEATURES, _TIME_FEATURES)
        )
        self.first = _stage(slices, 64, 2)
        self.down = nn.ModuleList([_stage(64, 128, 3), _stage(128, 256, 6)])
        self.enlarge = nn.ModuleList([nn.ConvTranspose2d(c, c // 2, 2, stride=2) for c in (256, 128)])
        self.up = nn.ModuleList([_stage(128, 128, 3), _stage(64, 64, 2)])
        self.modulations = nn.ModuleList([TimeModulation(c) for c in (64, 128, 128, 64)])
        self.head = nn.Conv2d(64, 1, 1)

    def forward(self, stack: Tensor, t: Tensor, guide: Tensor | None) -> Tensor:
        time = self.time(sinusoids(t, _TIME_FEATURES))
        modulations = iter(self.modulations)
        scales = [self.first(stack)]
        for stage in self.down:
            pooled = nn.functional.avg_pool2d(scales[-1], 2)
            scales.append(stage(pooled + next(modulations)(time, guide)))
        x = scales.pop()
        for enlarge, stage in zip(self.enlarge, self.up, strict=True):
            x = stage(scales.pop() + enlarge(x) + next(modulations)(time, guide))
        return at_full_precision(self.head, x)


class TimeModulation(nn.Module):
    """Returns what is added to the features of a stage: (batch, channels, 1, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.GELU(), nn.Linear(_TIME_FEATURES, channels))
        layers: list[nn.Module] = []
        for narrow, wide in ((2, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(narrow, wide, 3, padding=1), nn.ReLU(inplace=True), nn.AvgPool2d(2)]
        self.adjust = nn.Sequential(*layers, nn.Conv2d(128, 2 * channels, 1), nn.AdaptiveAvgPool2d(1))

    def forward(self, time: Tensor, guide: Tensor | None) -> Tensor:
        features = self.time(time)[..., None, None]
        if guide is None:
            return features
        scale, shift = self.adjust(guide).chunk(2, dim=1)
        return scale * features + shift


def sinusoids(t: Tensor, features: int) -> Tensor:
    """Return (batch, features): sines, then cosines of `t` (batch,) at wavelengths from 2π to 20,000π."""
    half = features // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000) / (half - 1)))
    angles = t[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), dim=1)


def _stage(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (in_channels, *(out_channels,) * (depth - 1)):
        layers += [nn.Conv2d(width, out_channels, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)

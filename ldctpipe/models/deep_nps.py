"""The learned noise power spectrum of CT-Mamba's loss: a profile over spatial frequency of what was taken away.

Li 2025, doi 10.1016/j.compmedimag.2025.102595, "Deep NPS loss"; layers as in the public code, but for those that it
never uses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ldctpipe.models.zigzag_scan import ZigzagScan


class DeepNps(nn.Module):
    """Gives the radial profile (batch, side // 2) of the noise (batch, 1, side, side) in an image; the side is even.

    The loss compares two profiles, each of a network of its own: of the image minus the output, and of the image minus
    the full-dose image. Both are trained with the denoiser, so that they can make the loss small by a constant profile.
    """

    def __init__(self, *, states: int = 16, radius: int = 20) -> None:
        super().__init__()
        self.features = NoiseFeatures(radius)
        self.scan = ZigzagScan(1, states)

    def forward(self, noise: Tensor, pixel_spacing_mm: float = 1.0) -> Tensor:
        with torch.autocast(noise.device.type, enabled=False):  # there is no spectrum of half precision on a CPU
            spectrum = torch.fft.fftshift(torch.fft.fft2(self.features(noise.float())), dim=(-2, -1))
            power = pixel_spacing_mm**2 * spectrum.abs().square()
            return radial_profile(self.scan(power.permute(0, 2, 3, 1))[..., 0])


class NoiseFeatures(nn.Module):
    """A U-Net of one level, whose skip and bottom work in space and on amplitudes ("u-Feature Net")."""

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.fine, self.coarse = _normalised(1, 16), nn.Sequential(nn.MaxPool2d(2), *_normalised(16, 32))
        self.skip, self.bottom = SpaceAndSpectrum(16, radius), SpaceAndSpectrum(32, radius)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(32, 16, kernel_size=3, stride=2, padding=1, output_padding=1),
            nn.InstanceNorm2d(16),
            nn.PReLU(),
        )
        self.merge = nn.Sequential(*_normalised(32, 16), nn.Conv2d(16, 1, kernel_size=1))

    def forward(self, noise: Tensor) -> Tensor:
        fine = self.fine(noise)
        coarse = self.up(self.bottom(self.coarse(fine)))
        return self.merge(torch.cat((self.skip(fine), coarse), dim=1))


class SpaceAndSpectrum(nn.Module):
    """The sum of two convolutions in space and two on the amplitudes of the lowest frequencies, phases unchanged."""

    def __init__(self, channels: int, radius: int) -> None:
        super().__init__()
        self.radius = radius
        self.space = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, padding_mode="reflect"),
            nn.PReLU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, padding_mode="reflect"),
        )
        self.spectrum = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=1), nn.PReLU(), nn.Conv2d(channels, channels, kernel_size=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.fft2(x)
        down, right = (torch.fft.fftfreq(side, 1 / side, device=x.device) for side in x.shape[-2:])
        low = torch.hypot(down[:, None], right[None]) <= self.radius
        amplitude = self.spectrum(spectrum.abs() * low)
        return self.space(x) + torch.fft.ifft2(torch.polar(amplitude, spectrum.angle())).real


def radial_profile(maps: Tensor) -> Tensor:
    """Return (batch, side // 2): the means of maps (batch, side, side) over rings one wide around side // 2."""
    side = maps.shape[-1]
    index = torch.arange(side, device=maps.device) - side // 2
    ring = torch.hypot(index[:, None].float(), index[None].float()).int()
    return torch.stack([maps[:, ring == radius].mean(dim=1) for radius in range(side // 2)], dim=1)


def _normalised(channels: int, out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for c in (channels, out):
        layers += [nn.Conv2d(c, out, kernel_size=3, padding=1), nn.InstanceNorm2d(out), nn.PReLU()]
    return nn.Sequential(*layers)

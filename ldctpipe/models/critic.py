"""The critic of WGAN-VGG and its kin: six convolutions and two fully connected layers, no sigmoid, no batch norm.

Yang et al. 2018, doi 10.1109/TMI.2018.2827462; CPCE, SMGAN and the flagship take the same layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn


class ConvCritic(nn.Module):
    """Scores patches: (batch, 1, patch_size, patch_size) to (batch,), unbounded (flagship paper, figure 3).

    Convolutions 3×3; odd layers have stride 1 and even layers stride 2; LeakyReLU after each. `padding` is 1 in the
    flagship and in CPCE, so that odd layers keep the size, and 0 in public ports of WGAN-VGG, whose `negative_slope` is
    0.01.
    """

    def __init__(
        self,
        patch_size: int = 64,
        channels: Sequence[int] = (64, 64, 128, 128, 256, 256),
        hidden: int = 1024,
        negative_slope: float = 0.2,
        padding: Literal[0, 1] = 1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_channels, size = 1, patch_size
        for index, out_channels in enumerate(channels):
            stride = 1 + index % 2
            layers += [
                nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=padding),
                nn.LeakyReLU(negative_slope),
            ]
            in_channels, size = out_channels, (size + 2 * padding - 3) // stride + 1
        self.features = nn.Sequential(*layers)
        self.score = nn.Sequential(
            nn.Flatten(), nn.Linear(in_channels * size**2, hidden), nn.LeakyReLU(negative_slope), nn.Linear(hidden, 1)
        )

    def forward(self, patch: Tensor) -> Tensor:
        return self.score(self.features(patch)).squeeze(1)

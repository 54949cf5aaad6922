"""The flagship's critic: six convolutions and two fully connected layers, no sigmoid, no batch norm."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class ConvCritic(nn.Module):
    """Scores patches: (batch, 1, patch_size, patch_size) to (batch,), unbounded (flagship paper, figure 3).

    Convolutions 3×3; odd layers keep the size and even layers halve it; LeakyReLU after each.
    """

    def __init__(
        self,
        patch_size: int = 64,
        channels: Sequence[int] = (64, 64, 128, 128, 256, 256),
        hidden: int = 1024,
        negative_slope: float = 0.2,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_channels = 1
        for index, out_channels in enumerate(channels):
            layers += [
                nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=1 + index % 2, padding=1),
                nn.LeakyReLU(negative_slope),
            ]
            in_channels = out_channels
        self.features = nn.Sequential(*layers)
        size = patch_size // 2 ** (len(channels) // 2)
        self.score = nn.Sequential(
            nn.Flatten(), nn.Linear(in_channels * size**2, hidden), nn.LeakyReLU(negative_slope), nn.Linear(hidden, 1)
        )

    def forward(self, patch: Tensor) -> Tensor:
        return self.score(self.features(patch)).squeeze(1)

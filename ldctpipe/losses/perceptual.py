"""Perceptual loss in the features of a frozen, ImageNet-pretrained timm network (flagship paper, equation 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn


class PerceptualLoss(nn.Module):
    """Squared feature distance of two batches in [0, 1], normalised by width · height · depth, summed over stages.

    `stages` counts timm's features by stride: 0 to 4 for strides 2 to 32. The network is frozen and stays in
    evaluation mode; gradients reach the images alone. Its weights are the caller's to load into `network`.
    """

    def __init__(self, backbone: str, stages: Sequence[int]) -> None:
        super().__init__()
        self.network = timm.create_model(backbone, features_only=True, pretrained=False, out_indices=tuple(stages))
        self.network.requires_grad_(False)
        statistics: dict[str, Any] = self.network.pretrained_cfg  # type: ignore[assignment]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(statistics["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(statistics["std"]).view(1, 3, 1, 1), persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Return itself, always in evaluation mode: a frozen network has no training mode."""
        return super().train(False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self._features(target)
        distances = [
            (a.float() - b.float()).square().mean() for a, b in zip(self._features(output), wanted, strict=True)
        ]
        return torch.stack(distances).sum()

    def _features(self, image: Tensor) -> list[Tensor]:
        return self.network((image.expand(-1, 3, -1, -1) - self.mean) / self.std)

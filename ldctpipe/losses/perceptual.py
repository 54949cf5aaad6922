"""Perceptual loss in the features of a frozen, ImageNet-pretrained timm network (flagship paper, equation 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import timm
import torch
from timm.models import create_feature_extractor
from torch import Tensor, nn

Input = Literal["imagenet", "unit", "caffe"]
# Means of ImageNet's blue, green and red, as VGG's first release (Simonyan 2014) takes them from pixels in [0, 255].
_CAFFE_MEANS = (103.939, 116.779, 123.68)


class PerceptualLoss(nn.Module):
    """Feature distance of two batches in [0, 1], normalised by width · height · depth, summed over layers.

    The features are those of `stages`, timm's by stride (0 to 4 for strides 2 to 32), or of `layers`, names of modules
    such as "features.34". `distance` is the mean square or the mean absolute difference, and `scale` multiplies the
    sum. `seen` says what the network sees of an image: "imagenet", by mean and deviation of its timm weights; "unit",
    as it is; "caffe", times 255 less the means of blue, green and red, for weights of VGG's first release. The network
    is frozen and stays in evaluation mode; gradients reach the images alone. Its weights are the caller's to load into
    `network`.

    It computes in float32 under autocast too: of images 3 HU apart, features rounded to bfloat16 differ mostly by
    rounding.
    """

    def __init__(
        self,
        backbone: str,
        stages: Sequence[int] = (),
        layers: Sequence[str] = (),
        distance: Literal["squared", "l1"] = "squared",
        scale: float = 1.0,
        seen: Input = "imagenet",
    ) -> None:
        super().__init__()
        self.network = _of_stages(backbone, stages) if stages else _of_layers(backbone, layers)
        self.network.requires_grad_(False)
        self._scale = scale
        self._distance = {"squared": torch.square, "l1": torch.abs}[distance]
        mean, std = _statistics(backbone, seen)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Return itself, always in evaluation mode: a frozen network has no training mode."""
        return super().train(False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(output.device.type, enabled=False):
            with torch.no_grad():
                wanted = self._features(target.float())
            pairs = zip(self._features(output.float()), wanted, strict=True)
            return self._scale * torch.stack([self._distance(a - b).mean() for a, b in pairs]).sum()

    def _features(self, image: Tensor) -> list[Tensor]:
        features = self.network((image.expand(-1, 3, -1, -1) - self.mean) / self.std)
        return list(features.values()) if isinstance(features, dict) else features


def _statistics(backbone: str, seen: Input) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return what is taken from each channel of an image in [0, 1], and what it is divided by then."""
    if seen == "imagenet":
        known: dict[str, Any] = timm.get_pretrained_cfg(backbone).to_dict()  # type: ignore[union-attr]
        return tuple(known["mean"]), tuple(known["std"])
    if seen == "caffe":
        return tuple(mean / 255 for mean in _CAFFE_MEANS), (1 / 255,) * 3
    return (0.0,) * 3, (1.0,) * 3


def _of_stages(backbone: str, stages: Sequence[int]) -> nn.Module:
    return timm.create_model(backbone, features_only=True, pretrained=False, out_indices=tuple(stages))


def _of_layers(backbone: str, layers: Sequence[str]) -> nn.Module:
    """Return the part of a network that its layers need, parameters by the names that they have in the whole."""
    network = timm.create_model(backbone, pretrained=False)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # it would overwrite the features before it
    return create_feature_extractor(network.eval(), {name: name for name in layers})

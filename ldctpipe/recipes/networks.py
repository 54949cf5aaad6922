"""From a recipe's sections to networks."""

from __future__ import annotations

import timm
from torch import nn

from ldctpipe.errors import UsageError
from ldctpipe.models.critic import ConvCritic
from ldctpipe.models.efficientnetv2_unet import EfficientNetV2UNet
from ldctpipe.recipes.schema import Recipe


def build_generator(recipe: Recipe) -> nn.Module:
    """Return the recipe's denoising network with random weights: (batch, 1, rows, columns) in [0, 1] to the same."""
    options = recipe.generator.model_dump(exclude={"network"})
    backbone = options.pop("backbone")
    if not timm.is_model(backbone):
        raise UsageError(None, f"generator.backbone: timm has no network {backbone!r}", "name one of timm's")
    return EfficientNetV2UNet(backbone, **options)


def build_critic(recipe: Recipe) -> nn.Module:
    """Return the recipe's critic with random weights: patches (batch, 1, patch_size, patch_size) to scores (batch,)."""
    return ConvCritic(recipe.data.patch_size, **recipe.critic.model_dump())

"""ImageNet weights for timm encoders: from timm's hub when it can be reached, or from a file of timm's naming."""

from __future__ import annotations

import timm
from torch import Tensor, nn


def hub_weights(backbone: str) -> dict[str, Tensor]:
    """Return timm's published ImageNet weights of `backbone`; raises whatever the hub raises out of reach."""
    return timm.create_model(backbone, pretrained=True).state_dict()


def load_encoder(encoder: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy timm's weights of a whole classifier into its features-only `encoder`.

    Raises `KeyError` naming the first parameter that `weights` lacks, and `ValueError` where a shape differs.
    """
    # A features-only network ends before the classifier's head: what is left over in `weights` is that head.
    state = encoder.state_dict()
    for name, tensor in state.items():
        if name not in weights:
            raise KeyError(name)
        if weights[name].shape != tensor.shape:
            raise ValueError(f"{name} has shape {tuple(weights[name].shape)}, the network wants {tuple(tensor.shape)}")
        tensor.copy_(weights[name])

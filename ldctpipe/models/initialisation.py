"""Starting values of convolutions as publications state them; biases start at 0."""

from __future__ import annotations

import torch
from torch import nn

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def start_gaussian(network: nn.Module, deviation: float) -> None:
    """Draw the weights of every convolution and linear layer from N(0, deviation²)."""
    for layer in network.modules():
        if isinstance(layer, (*_CONVOLUTIONS, nn.Linear)):
            nn.init.normal_(layer.weight, std=deviation)
            _zero_bias(layer)


def start_glorot(network: nn.Module) -> None:
    """Draw the weights of every convolution from the uniform distribution of Glorot and Bengio (2010)."""
    for layer in network.modules():
        if isinstance(layer, _CONVOLUTIONS):
            nn.init.xavier_uniform_(layer.weight)
            _zero_bias(layer)


def start_normal(network: nn.Module, deviation: float = 0.02) -> None:
    """Draw weights of convolutions from N(0, 0.02), scales of batch norm from N(1, 0.02); biases become 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, deviation)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, deviation)
        else:
            continue
        _zero_bias(module)


def _zero_bias(layer: nn.Module) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


@torch.no_grad()
def turn_positive(network: nn.Module, last: nn.Module, depth: int = 1) -> None:
    """Turn the sign of the `last` layer's weights where the ReLU after it would blank an even image.

    A network that ends in a ReLU and starts below it gives 0 everywhere, has no gradient, and never learns: the fate of
    a good part of random starts. The distributions of the weights are symmetric, and the turned ones belong to them
    just as much.
    """
    side = 33
    if next(last.parameters()).is_meta:  # shapes alone, for a count
        return
    if network(torch.full((1, depth, side, side), 0.5))[..., side // 2, side // 2].sum() == 0:
        for parameter in last.parameters():
            parameter.neg_()

"""What tests ask of every network: its parameters, what its output sees, and which of its parameters learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def keras_total(network: nn.Module) -> int:
    """Return the parameters as Keras counts them: with the running mean and variance of each batch norm."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    return parameters(network) + sum(2 * norm.num_features for norm in norms)


def sees(network: nn.Module, depth: int = 1, side: int = 71) -> tuple[int, int, int]:
    """Return the slices, rows and columns of the input that the centre pixel of the output depends on.

    All weights become positive, so that no ReLU is shut and nothing cancels.
    """
    network = network.double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = max(parameter[0].numel(), 1) if parameter.ndim > 1 else 1
            parameter.uniform_(0.5, 1.0).div_(fan_in)
    image = torch.rand(1, depth, side, side, dtype=torch.float64, requires_grad=True)
    network(image)[0, 0, side // 2, side // 2].backward()
    reached = image.grad[0].nonzero()
    first, last = reached.amin(dim=0), reached.amax(dim=0)
    return tuple((last - first + 1).tolist())


def without_gradient(network: nn.Module, image: Tensor) -> list[str]:
    """Return the names of the parameters that get no gradient, with batch norms in eval mode."""
    network.eval()
    output = network(image)
    parts = output if isinstance(output, tuple) else (output,)
    sum(part.square().sum() for part in parts).backward()
    return [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def zeroed(network: nn.Module) -> nn.Module:
    """Return the network in eval mode with all parameters at 0."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return network.eval()

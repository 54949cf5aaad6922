"""Which input pixels reach an output pixel, and which parameters reach the output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def reached_span(network: nn.Module, call: Callable[[Tensor], Tensor], side: int, pixel: int) -> tuple[int, int]:
    """Return how many rows before and after (pixel, pixel) change it, the same for columns, as a gradient finds them.

    All weights become positive, so that no path is cancelled by another or closed by a ReLU.
    """
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1 / max(parameter[0].numel(), 1) if parameter.ndim > 1 else 1.0)
    image = torch.ones(1, 1, side, side, requires_grad=True)
    call(image)[0, 0, pixel, pixel].backward()
    reached = image.grad[0, 0] != 0
    rows, columns = reached.any(dim=1).nonzero().flatten(), reached.any(dim=0).nonzero().flatten()
    assert rows.tolist() == columns.tolist()
    return pixel - int(rows[0]), int(rows[-1]) - pixel


def without_gradient(network: nn.Module, output: Tensor) -> list[str]:
    """Return the names of parameters that change nothing in the output."""
    network.zero_grad()
    (output * torch.rand_like(output)).sum().backward()
    return [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]

"""Layers that read or write image values, outside mixed precision.

In [0, 1] of 3,000 HU, soft tissue has steps of 6 HU as bfloat16 and of 0.7 HU as float16 or TF32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn


def at_full_precision(layer: nn.Module, features: Tensor) -> Tensor:
    """Return what `layer` makes of `features` in the type of its weights: bfloat16 would have steps of 6 HU."""
    with torch.autocast(features.device.type, enabled=False):
        return layer(features.to(next(layer.parameters()).dtype))


def without_autocast(network: nn.Module) -> nn.Module:
    """Return `network`, changed so that it and its layers compute in the type of their weights under autocast too.

    CUDA may still multiply in TF32, where torch is set to. Its class is now one derived from what it was: names of
    weights, copies and compilation are not concerned.
    """
    kind: Any = type(network)

    def forward(self: nn.Module, *inputs: Tensor) -> Any:
        weights = next(chain(self.parameters(), self.buffers()))  # a fixed filter has buffers alone
        with torch.autocast(weights.device.type, enabled=False):
            return kind.forward(self, *(each.to(weights.dtype) for each in inputs))

    network.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": __name__})
    return network


def in_float32(layer: nn.Module) -> nn.Module:
    """Return `layer`, changed as `without_autocast` does, and so that its convolutions do not use TF32 either."""
    kind: Any = type(without_autocast(layer))

    def forward(self: nn.Module, *inputs: Tensor) -> Any:
        with _tf32_off():
            return kind.forward(self, *inputs)

    layer.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": __name__, "tf32": False})
    return layer


def keep_float32_when_compiled(network: nn.Module) -> None:
    """Leave layers that `in_float32` changed out of compilation, which would lose the switch of TF32 around them."""
    for layer in network.modules():
        if getattr(layer, "tf32", True) is False:
            layer.forward = torch.compiler.disable(layer.forward)  # type: ignore[method-assign]


@contextmanager
def _tf32_off() -> Iterator[None]:
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed  # type: ignore[assignment]

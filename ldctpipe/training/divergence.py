"""When a training has left the road: numbers that are none, and a critic that exploded."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

MOST_ROLLBACKS = 3  # to the last good state; a training that diverges once more is at fault itself


class Diverged(Exception):
    """The training's state is of no use any more; says what shows it."""


def require_finite(scalars: dict[str, float]) -> dict[str, float]:
    """Return the values that are finite numbers; raises `Diverged` where one is not, unless it is a gradient's norm.

    A gradient that overflows is routine in float16, and the step is left out; in other precisions its harm shows in the
    next loss, or in the weights before they are saved.
    """
    for name, value in scalars.items():
        if not math.isfinite(value) and not name.startswith("gradient_norm"):
            raise Diverged(f"{name} is {value}")
    return {name: value for name, value in scalars.items() if math.isfinite(value)}


@torch.no_grad()
def require_finite_weights(networks: Iterable[nn.Module]) -> None:
    """Raise `Diverged` where a parameter or statistic is infinite or no number; one transfer from the device."""
    tensors = [t for network in networks for t in network.state_dict().values() if t.is_floating_point()]
    if not bool(torch.stack([t.isfinite().all() for t in tensors]).all()):
        raise Diverged("weights are no finite numbers")

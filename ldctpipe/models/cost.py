"""What a network costs: arithmetic, time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Of one pass over one slice.

    `gflop` counts the multiplications and additions of convolutions, matrix products and attention, in 10⁹, as torch
    counts them; what goes on element by element (norms, activations, a state-space scan) is in `seconds` alone.
    """

    gflop: float
    seconds: float


@torch.inference_mode()
def measure_cost(network: nn.Module, image: Tensor) -> Cost:
    """Return the cost of `network` in eval mode on an image (1, slices, rows, columns), by a second pass over it."""
    was_training = network.training
    network.eval()
    gflop = count_gflop(network, image)
    _finish(image.device)
    started = time.perf_counter()
    network.forward(image)
    _finish(image.device)
    seconds = time.perf_counter() - started
    network.train(was_training)
    return Cost(gflop, seconds)


def count_gflop(network: nn.Module, image: Tensor) -> float:
    """Return the arithmetic of one pass in 10⁹, as `Cost` counts it; shapes are enough, so `image` may be fake."""
    with FlopCounterMode(display=False) as counter:
        network.forward(image)  # not the call, which may be compiled for patches
    return counter.get_total_flops() / 1e9


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

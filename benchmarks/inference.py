"""Seconds per 512×512 slice: the flagship's generator beside RED-CNN of ldct-benchmark, in one run, interleaved.

    .venv/bin/python benchmarks/inference.py [--threads 2] [--repeats 5] [--json FILE]

Both networks get random weights: speed does not depend on their values. Each round runs every network once, so that a
machine whose speed drifts slows all of them alike; ratios are of medians.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.networks import build_generator

SIDE = 512
PEER = "RED-CNN (ldct-benchmark)"
RECIPES = ("wgan-gp-effnetv2", "wgan-gp-effnetv2-deep-skips", "wgan-gp-effnetv2-mini")


def peer() -> nn.Module:
    """Return ldct-benchmark's RED-CNN with random weights."""
    from ldctbench.methods.redcnn.network import Model

    return Model(argparse.Namespace())


def networks() -> dict[str, nn.Module]:
    """Return all networks by name, ready for inference as `ldctpipe denoise` runs them."""
    ours = {name: build_generator(load_recipe(name)).eval().to(memory_format=torch.channels_last) for name in RECIPES}
    return {PEER: peer().eval(), **ours}


def gflop(network: nn.Module, image: torch.Tensor) -> float:
    """Return the floating-point operations of one slice, in 10⁹, a multiplication and an addition counted apart."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops() / 1e9


@torch.inference_mode()
def seconds(network: nn.Module, image: torch.Tensor, finish: Callable[[], None]) -> float:
    """Return the time of one forward pass."""
    started = time.perf_counter()
    network(image)
    finish()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    finish = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    image = torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(device)
    candidates = {name: network.to(device) for name, network in networks().items()}
    costs = {name: gflop(network, image) for name, network in candidates.items()}  # also the warm-up
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(options.repeats):
        for name, network in candidates.items():
            times[name].append(seconds(network, image, finish))
    medians = {name: statistics.median(values) for name, values in times.items()}
    machine = f"{device.type} ({platform.machine()}, {options.threads} threads)"
    print(f"torch {torch.__version__} on {machine}, {SIDE}×{SIDE}, batch 1")
    print(f"{'network':30} {'parameters':>11} {'GFLOP':>8} {'s/slice':>9} {'min':>8} {'max':>8} {'× peer speed':>13}")
    for name, network in candidates.items():
        parameters = sum(p.numel() for p in network.parameters())
        low, high, ratio = min(times[name]), max(times[name]), medians[PEER] / medians[name]
        print(
            f"{name:30} {parameters:11,} {costs[name]:8.1f} {medians[name]:9.4f} {low:8.4f} {high:8.4f} {ratio:13.1f}"
        )
    if options.json:
        options.json.write_text(json.dumps({"seconds": times, "gflop": costs, "argv": sys.argv[1:]}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Milliseconds and peak memory of a training iteration and of its parts, beside a plain loop (`plain_training.py`).

Each measurement runs in a process of its own, so that one's memory is not the other's, and both take turns. Weights are
random: what is measured does not depend on them. On a CPU, batches are small by default; the ratio is what counts.

    .venv/bin/python benchmarks/training.py                       # CPU, 8 patches
    .venv/bin/python benchmarks/training.py --device cuda         # GPU, the recipe's own batch
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file

from ldctpipe.data.store import open_store
from ldctpipe.losses.adversarial import gradient_penalty
from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.schema import Recipe

PEER, OURS, IN_PARTS = "plain loop", "ldctpipe", "ldctpipe, accumulation 4"


def make_inputs(folder: Path, recipe: Recipe, slices: int) -> None:
    """Write a store of simulated 512×512 slices and a file of random weights in timm's naming."""
    from ldctpipe.data.preparation import prepare_store
    from ldctpipe.data.samplesheet import rows_of_cohort, write_sheet
    from ldctpipe.simulation.cohort import make_phantom_cohort

    make_phantom_cohort(folder / "cohort", 1, slices, 1)
    write_sheet(folder / "sheet.csv", rows_of_cohort(folder / "cohort"))
    prepare_store(folder / "sheet.csv", folder / "store")
    backbone = recipe.losses.perceptual_backbone
    save_file(timm.create_model(backbone, pretrained=False).state_dict(), folder / "backbone.safetensors")


def plain(folder: Path, recipe: Recipe, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """Return the plain loop's iteration."""
    from plain_training import PlainTraining

    weights = load_file(folder / "backbone.safetensors")
    training = PlainTraining(folder / "store", recipe, torch.device(options.device), weights, options.threads)
    return {"iteration": training.step}


def ours(folder: Path, recipe: Recipe, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """Return ldctpipe's iteration and the parts of it."""
    from ldctpipe.training.assembly import build_algorithm, build_sampler, compile_networks
    from ldctpipe.training.imagenet import ImageNetWeights
    from ldctpipe.training.launch import launch_fabric

    fabric = launch_fabric(recipe, options.device, options.threads)
    weights = ImageNetWeights(True, folder / "backbone.safetensors")
    algorithm = build_algorithm(recipe, weights, fabric)
    sampler = build_sampler(open_store(folder / "store"), recipe, fabric)
    if options.compile:
        compile_networks(algorithm, sampler)
    low, full = sampler.batch()
    mixing = torch.rand(len(low)).to(fabric.device)
    perceptual: Any = algorithm.perceptual

    def penalty() -> None:
        algorithm.critic.requires_grad_(True)
        gradient_penalty(algorithm.networks()["critic"], full, low, mixing).backward()

    def perceptual_loss() -> None:
        with fabric.autocast():
            distance = perceptual(low.clone().requires_grad_(), full)
        distance.backward()

    def generator_update() -> None:
        algorithm.critic.requires_grad_(False)
        algorithm.update_generator(low, full)

    def critic_update() -> None:
        algorithm.critic.requires_grad_(True)
        algorithm.update_critic(low, full)

    return {
        "iteration": lambda: algorithm.step(sampler.batch, 1.0),
        "sampling one batch": sampler.batch,
        "one critic update": critic_update,
        "penalty in it": penalty,
        "generator update": generator_update,
        "perceptual loss in it": perceptual_loss,
    }


def measure(kind: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return milliseconds of each part and the peak memory of the iteration, in this process."""
    torch.set_num_threads(options.threads)
    recipe = recipe_of(options, parts=4 if kind == IN_PARTS else 1)
    parts = (plain if kind == PEER else ours)(folder, recipe, options)
    cuda = options.device == "cuda"
    finish = torch.cuda.synchronize if cuda else lambda: None
    before_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    milliseconds: dict[str, float] = {}
    memory_mib = 0.0
    for name, work in parts.items():  # the iteration first, before parts can raise the peak
        for _ in range(options.warmup):
            work()
        times = []
        for _ in range(options.repeats):
            finish()
            started = time.perf_counter()
            work()
            finish()
            times.append(1000 * (time.perf_counter() - started))
        milliseconds[name] = statistics.median(times)
        if name == "iteration":
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            memory_mib = torch.cuda.max_memory_allocated() / (1 << 20) if cuda else peak_mib - before_mib
    return {"milliseconds": milliseconds, "memory_mib": memory_mib, "patches": recipe.data.batch_size}


def recipe_of(options: argparse.Namespace, parts: int = 1) -> Recipe:
    """Return the recipe at the batch that is measured."""
    changes = [f"data.images_per_batch={options.images}"] if options.images else []
    return load_recipe(options.recipe, [*changes, f"training.accumulation={parts}"])


def in_a_process(kind: str, folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Return what `measure` finds in a process of its own."""
    command = [sys.executable, __file__, *arguments, "--measure", kind, "--inputs", str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def show(rounds: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> None:
    """Print the table: the iteration of each kind beside the peer's, then the parts."""
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"cpu ({platform.machine()})"
    patches = rounds[OURS][0]["patches"]
    print(
        f"torch {torch.__version__} on {device}, {options.threads} threads; {options.recipe}, {patches} patches a batch"
    )
    print(f"{'iteration':28} {'ms':>9} {'min':>9} {'max':>9} {'MiB':>7} {'× peer speed':>13} {'× peer memory':>14}")
    peer_ms = statistics.median(each["milliseconds"]["iteration"] for each in rounds[PEER])
    peer_mib = statistics.median(each["memory_mib"] for each in rounds[PEER])
    for kind, found in rounds.items():
        times = [each["milliseconds"]["iteration"] for each in found]
        median, mib = statistics.median(times), statistics.median(each["memory_mib"] for each in found)
        print(
            f"{kind:28} {median:9.1f} {min(times):9.1f} {max(times):9.1f} {mib:7.0f} {peer_ms / median:13.2f} "
            f"{mib / peer_mib:14.2f}"
        )
    whole = statistics.median(each["milliseconds"]["iteration"] for each in rounds[OURS])
    print(f"{'parts of ldctpipe':28} {'ms':>9} {'% of iteration':>15}")
    for name in rounds[OURS][0]["milliseconds"]:
        if name != "iteration":
            median = statistics.median(each["milliseconds"][name] for each in rounds[OURS])
            print(f"{name:28} {median:9.1f} {100 * median / whole:15.2f}")
    if options.device == "cuda":
        print(f"200,000 iterations: {whole * 200_000 / 60_000_000 * 1000:.0f} min")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="wgan-gp-effnetv2")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--images", type=int, help="a batch, of four patches each [2 on a CPU, else the recipe's]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="iterations in each process")
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind, taking turns")
    parser.add_argument("--compile", action="store_true", help="try torch.compile and CUDA graphs")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--measure", choices=(PEER, OURS, IN_PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--inputs", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.images is None and options.device == "cpu":
        options.images = 2
    return options


def main() -> None:
    options = parsed()
    if options.measure:
        print(json.dumps(measure(options.measure, options.inputs, options)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_inputs(folder, recipe_of(options), slices=24)
        rounds: dict[str, list[dict[str, Any]]] = {PEER: [], OURS: [], IN_PARTS: []}
        for _ in range(options.rounds):
            for kind, found in rounds.items():
                found.append(in_a_process(kind, folder, sys.argv[1:]))
    show(rounds, options)
    if options.json:
        record = {"rounds": rounds, "argv": sys.argv[1:]}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()

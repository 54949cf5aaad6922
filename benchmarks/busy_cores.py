"""Seconds of a small training on a machine whose cores are free, and where each core also has another process to run.

    .venv/bin/python benchmarks/busy_cores.py [--iterations 40] [--repeats 3] [--json FILE]

Beside one busy process on each core a training gets half of the time, so it should take about twice as long. Threads
that spin while they wait for each other take longer: a thread that lost its core is awaited by others who burn theirs.
"spinning" is OpenMP's own default, "waiting" what `ldctpipe` sets. All four take turns; figures are medians. Each
training is a process of its own that times its iterations after the first five.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ldctpipe.devices import THREADS_WAIT, usable_cores

WARM_UP = 5
SETTINGS = {"spinning": {"GOMP_SPINCOUNT": "300000", "OMP_WAIT_POLICY": "passive"}, "waiting": THREADS_WAIT}
RECIPE = ("data.patch_size=64", "data.images_per_batch=4", "data.patches_per_image=1", "generator.channels=32")


def train(iterations: int) -> float:
    """Return the seconds of one iteration of a small RED-CNN, on random images."""
    import torch

    from ldctpipe.recipes.library import load_recipe
    from ldctpipe.training.assembly import build_algorithm
    from ldctpipe.training.imagenet import ImageNetWeights
    from ldctpipe.training.launch import launch_fabric

    recipe = load_recipe("red-cnn", RECIPE)
    algorithm = build_algorithm(recipe, ImageNetWeights(False), launch_fabric(recipe, "cpu", usable_cores()))
    batch = torch.rand(recipe.data.batch_size, 1, 64, 64), torch.rand(recipe.data.batch_size, 1, 64, 64)
    started = 0.0
    for iteration in range(WARM_UP + iterations):
        if iteration == WARM_UP:
            started = time.perf_counter()
        algorithm.step(lambda: batch, 1.0, iteration, measure_gradients=False)
    return (time.perf_counter() - started) / iterations


def _burn() -> None:
    while True:
        pass


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keep `count` processes busy that do nothing."""
    burners = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(count)]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.join()


def measured(setting: str, busy: int, iterations: int) -> float:
    """Return what `train` says in a process with this setting, beside as many busy processes."""
    unset = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--train", "--iterations", str(iterations)]
    with busy_cores(busy):
        done = subprocess.run(command, env={**unset, **SETTINGS[setting]}, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        print(train(options.iterations))
        return
    cores = usable_cores()
    seconds: dict[tuple[str, int], list[float]] = {(name, busy): [] for name in SETTINGS for busy in (0, cores)}
    for _ in range(options.repeats):
        for (name, busy), times in seconds.items():
            times.append(measured(name, busy, options.iterations))
    middle = {key: statistics.median(times) for key, times in seconds.items()}
    print(f"{cores} cores     free, ms   busy, ms   ratio")
    for name in SETTINGS:
        free, busy = middle[name, 0], middle[name, cores]
        print(f"{name:10} {1e3 * free:9.1f} {1e3 * busy:10.1f} {busy / free:7.1f}")
    if options.json:
        rows = {name: {"free_s": middle[name, 0], "busy_s": middle[name, cores]} for name in SETTINGS}
        options.json.write_text(json.dumps({"cores": cores, "iterations": options.iterations, **rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

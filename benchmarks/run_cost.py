"""Storage and GPU hours of a training run, computed from array shapes and the networks' own parameters.

    .venv/bin/python benchmarks/run_cost.py
    .venv/bin/python benchmarks/run_cost.py --ms-per-iteration MEASURED --price-per-gpu-hour YOURS

Nothing is timed here: GPU hours and prices come out only where what they follow from is given.
"""

from __future__ import annotations

import argparse

from torch import nn

from ldctpipe.data.origins import STRIDE
from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.networks import build_critic, build_generator

INT16_BYTES, FLOAT32_BYTES, GB = 2, 4, 1e9
ADAM_STATES = 2  # mean and mean square of each weight's gradient
CHECKPOINTS_KEPT = 2


def main() -> None:
    options = _options()
    storage = _storage(options)
    width = max(map(len, storage)) + 2
    print(
        f"{options.patients} patients, {options.pairs} pairs, {options.size}×{options.size}, recipe {options.recipe}\n"
    )
    for what, size in storage.items():
        print(f"{what:{width}}{size / GB:8.2f} GB")
    total_gb = sum(storage.values()) / GB
    print(f"{'together':{width}}{total_gb:8.2f} GB")
    if options.price_per_gb_month:
        print(f"{'a month of it':{width}}{total_gb * options.price_per_gb_month:8.2f} in the currency of the price")
    if options.ms_per_iteration:
        hours = options.iterations * options.ms_per_iteration / 3.6e6
        print(f"{'training':{width}}{hours:8.1f} GPU hours for {options.iterations} iterations")
        if options.price_per_gpu_hour:
            print(f"{'':{width}}{hours * options.price_per_gpu_hour:8.2f} in the currency of the price")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=2378, help="slices that are there at both doses")
    parser.add_argument("--test-pairs", type=int, default=211, help="those of the held-out patient (L506)")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--recipe", default="wgan-gp-effnetv2")
    parser.add_argument("--iterations", type=int, default=200_000)
    parser.add_argument("--ms-per-iteration", type=float)
    parser.add_argument("--price-per-gpu-hour", type=float)
    parser.add_argument("--price-per-gb-month", type=float)
    return parser.parse_args()


def _storage(options: argparse.Namespace) -> dict[str, float]:
    recipe = load_recipe(options.recipe)
    generator, critic = _weight_bytes(build_generator(recipe)), _weight_bytes(build_critic(recipe))
    slice_bytes = options.size**2 * INT16_BYTES
    trained = options.pairs - options.test_pairs
    windows = ((options.size - recipe.data.patch_size) // STRIDE + 1) ** 2
    return {
        "input: DICOM of both doses, uncompressed": 2 * options.pairs * slice_bytes,
        "work: cases (both doses as int16 HU)": 2 * options.pairs * slice_bytes,
        "work: training store, pairs": 2 * trained * slice_bytes,
        "work: training store, origins at most": trained * windows * 2 * INT16_BYTES,
        "work: checkpoints": CHECKPOINTS_KEPT * (generator + critic) * (1 + ADAM_STATES) + generator,
        "work: denoised DICOM of the held-out patient": options.test_pairs * slice_bytes,
        "results: denoised DICOM of the held-out patient": options.test_pairs * slice_bytes,
        "work and results: bundle": 2 * generator,
    }


def _weight_bytes(network: nn.Module) -> int:
    return sum(value.numel() for value in network.state_dict().values()) * FLOAT32_BYTES


if __name__ == "__main__":
    main()

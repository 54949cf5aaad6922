"""Denoiser bundles of random weights, for tests that need a network of some kind and no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ldctpipe.recipes.bundle import WEIGHTS, write_bundle
from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.networks import build_generator


def write_small_bundle(
    folder: Path,
    network: str,
    *,
    title: str = "",
    caution: str = "",
    context: int = 0,
    seed: int = 0,
    normalization: dict[str, float] | None = None,
    **options: Any,
) -> Path:
    """Write a bundle of `file.Class` of the models with random weights to `folder`, a new one, and return it.

    It is RED-CNN's recipe with another network, title, caution, number of neighbors and HU range.
    """
    data = {"context": context, **({"normalization": normalization} if normalization else {})}
    what = {"generator": {"network": network, **options}, "data": data}
    recipe = load_recipe("red-cnn", title=title or network, caution=caution, **what)
    torch.manual_seed(seed)
    state = build_generator(recipe).state_dict()
    folder.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS)
    write_bundle(folder, recipe, {"notes": ["made for a test"]})
    return folder

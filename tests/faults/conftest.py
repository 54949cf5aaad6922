"""Fixtures of the fault tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A denoiser of random weights."""
    import torch
    from safetensors.torch import save_file

    from ldctpipe.recipes.bundle import write_bundle
    from ldctpipe.recipes.library import load_recipe
    from ldctpipe.recipes.networks import build_generator

    folder = tmp_path_factory.mktemp("bundle") / "model"
    folder.mkdir()
    recipe = load_recipe("wgan-gp-effnetv2-mini", ["generator.decoder_channels=[8,8,8,8,8]"])
    torch.manual_seed(0)
    save_file(build_generator(recipe).state_dict(), folder / "model.safetensors")
    write_bundle(folder, recipe, {"notes": []})
    return folder

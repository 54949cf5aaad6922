"""A recipe small enough for tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SMALL = [
    "data.images_per_batch=2", "data.patches_per_image=1", "critic.channels=[4,4,8,8,8,8]", "critic.hidden=8",
    "generator.decoder_channels=[16,16,8,8,8]", "algorithm.critic_updates=2", "training.validate_every=2",
    "training.log_every=1", "training.checkpoint_every=2",
]  # fmt: skip
BACKBONE = "tf_efficientnetv2_b0.in1k"


def small_recipe(*overrides: str):
    """Return the mini recipe, smaller still."""
    from ldctpipe.recipes.library import load_recipe

    return load_recipe("wgan-gp-effnetv2-mini", [*SMALL, *overrides])


@pytest.fixture
def request_for(tiny_store: Path, tmp_path: Path):
    """A function that returns a training request for a short run of the mini recipe."""
    from ldctpipe.training.run import TrainingRequest

    def make(name: str, *overrides: str, iterations: int = 6, **changes) -> TrainingRequest:
        recipe = small_recipe(f"training.iterations={iterations}", *overrides)
        options = {"checkpoints": tmp_path / f"{name}.checkpoints", "pretrained": False, "device": "cpu"}
        options |= {"previews": 0}
        return TrainingRequest(tiny_store, tmp_path / name, recipe, **(options | changes))

    return make


@pytest.fixture
def algorithm_for():
    """A function that returns the small recipe's algorithm on the CPU."""
    from ldctpipe.training.assembly import build_algorithm
    from ldctpipe.training.imagenet import ImageNetWeights
    from ldctpipe.training.launch import launch_fabric

    def make(*overrides: str):
        recipe = small_recipe(*overrides)
        return build_algorithm(recipe, ImageNetWeights(False, None), launch_fabric(recipe, "cpu"))

    return make


@pytest.fixture(scope="session")
def backbone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights in timm's naming for the mini recipe's backbone: stands in for ImageNet's."""
    import timm
    import torch
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "b0.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        save_file(timm.create_model(BACKBONE, pretrained=False).state_dict(), path)
    return path

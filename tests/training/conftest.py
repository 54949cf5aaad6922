"""A recipe small enough for tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SMALL = [
    "data.images_per_batch=2", "data.patches_per_image=1", "critic.channels=[4,4,8,8,8,8]", "critic.hidden=8",
    "generator.decoder_channels=[16,16,8,8,8]", "algorithm.critic_updates=2", "training.validate_every=2",
    "training.log_every=1", "training.checkpoint_every=2",
]  # fmt: skip


@pytest.fixture
def request_for(tiny_store: Path, tmp_path: Path):
    """A function that returns a training request for a short run of the mini recipe."""
    from ldctpipe.recipes.library import load_recipe
    from ldctpipe.training.run import TrainingRequest

    def make(name: str, *overrides: str, iterations: int = 6, **changes) -> TrainingRequest:
        recipe = load_recipe("wgan-gp-effnetv2-mini", [*SMALL, f"training.iterations={iterations}", *overrides])
        options = {"checkpoints": tmp_path / f"{name}.checkpoints", "pretrained": False, "device": "cpu"}
        return TrainingRequest(tiny_store, tmp_path / name, recipe, **(options | changes))

    return make

"""In mixed precision +1 HU reaches the first features of every trainable recipe, and the scores of its critics."""

from __future__ import annotations

import pytest
import torch
from test_methods import ROWS
from torch import Tensor, nn

from ldctpipe.models.memory_format import to_channels_last
from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.networks import build_generator

TRAINABLE = [name for name, row in ROWS.items() if row.generator]
HALVES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@pytest.fixture(scope="module", params=TRAINABLE)
def trained(request):
    """A recipe at small size, and its algorithm as a training in mixed precision sets it up."""
    from ldctpipe.training.assembly import build_algorithm
    from ldctpipe.training.imagenet import ImageNetWeights
    from ldctpipe.training.launch import launch_fabric

    recipe = load_recipe(request.param, ROWS[request.param].small)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return recipe, build_algorithm(recipe, ImageNetWeights(False, None), launch_fabric(recipe, "cpu"))


def soft_tissue(recipe, slices: int) -> Tensor:
    """Return one patch (1, slices, rows, columns) between 0 and 80 HU, as networks see it."""
    side = recipe.data.patch_size
    hu = 80 * torch.rand(1, slices, side, side, generator=torch.Generator().manual_seed(1))
    return recipe.data.normalization.as_map().normalize(hu)


class Enough(Exception):
    """The first features are there; what a network makes of them takes time."""


def first_features(network: nn.Module, image: Tensor) -> Tensor:
    """Return what the first convolution that runs makes of an image."""

    def stop(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        raise Enough(output)

    kinds = (nn.Conv2d, nn.Conv3d)
    hooks = [each.register_forward_hook(stop) for each in network.modules() if isinstance(each, kinds)]
    try:
        with pytest.raises(Enough) as stopped:
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return stopped.value.args[0]


def autocast(kind: str) -> torch.autocast:
    return torch.autocast("cpu", dtype=HALVES[kind])


@pytest.mark.parametrize("kind", HALVES)
@torch.no_grad()
def test_one_hu_reaches_the_first_features_as_in_float32(trained, kind):
    recipe, algorithm = trained
    low = soft_tissue(recipe, 2 * recipe.data.context + 1)
    step = 1 / recipe.data.normalization.as_map().range_hu
    denoising = build_generator(recipe)  # as `ldctpipe denoise` does
    to_channels_last(denoising).load_state_dict(algorithm.denoiser.state_dict())

    with autocast(kind):
        before, after = (first_features(algorithm.denoiser.eval(), image) for image in (low, low + step))

    assert torch.equal(before, first_features(denoising.eval(), low))
    assert torch.equal(after, first_features(denoising.eval(), low + step))
    assert not torch.equal(before, after)


@pytest.mark.parametrize("kind", HALVES)
@torch.no_grad()
def test_scores_are_those_of_float32(trained, kind):
    recipe, algorithm = trained
    critics = [each for name, each in algorithm.networks().items() if "critic" in name or "discriminator" in name]
    patches = soft_tissue(recipe, 8).transpose(0, 1)
    step = 1 / recipe.data.normalization.as_map().range_hu

    assert bool(critics) == (recipe.critic is not None)
    for critic in critics:
        for parameter in critic.parameters():
            parameter.abs_()  # so that none of the few ReLUs of a small critic is shut
        with autocast(kind):
            scores, moved = scores_of(critic, patches), scores_of(critic, patches + step)
        assert torch.equal(scores, scores_of(critic, patches))
        assert bool((moved != scores).all())
        assert len(scores.unique()) == len(patches)


def scores_of(critic: nn.Module, patches: Tensor) -> Tensor:
    """Return one number for each patch, of a map the first."""
    scores = critic.eval()(patches)
    return (scores[0] if isinstance(scores, tuple) else scores).reshape(len(patches), -1)[:, 0]

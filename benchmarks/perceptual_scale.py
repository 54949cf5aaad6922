"""What scale of its features gives the perceptual loss the size that the flagship paper's figure 7 shows.

    .venv/bin/python benchmarks/perceptual_scale.py STORE [--recipe wgan-gp-efflite0] [--weights FILE] [--seeds 3]
        [--patches 128] [--wanted 0.8] [--json FILE]

STORE is a training store of `ldctpipe prepare`. For full-dose patches of it, the table has the perceptual loss at the
published weight of 0.1 (and `perceptual_scale` 1), L1, and the norms of both weighted gradients at a patch, for: the
output of untrained generators (of the published layout, in training mode, one per seed), a constant image, white noise
of 25 HU, and the low dose itself. The scale printed last gives untrained generators a weighted perceptual loss of
--wanted; it is `losses.perceptual_scale` of a recipe. Without --weights, an installed package brings them, or timm's
hub.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ldctpipe.data.store import open_store
from ldctpipe.losses.perceptual import PerceptualLoss
from ldctpipe.losses.pixel import mean_absolute
from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.networks import build_generator
from ldctpipe.recipes.schema import Recipe
from ldctpipe.training.assembly import build_sampler
from ldctpipe.training.imagenet import ImageNetWeights
from ldctpipe.training.launch import launch_fabric

NOISE_HU = 25.0
WEIGHT = 0.1  # published, and that of figure 7
PUBLISHED_LAYOUT = (
    *("generator.output=direct", "generator.residual_scale=1.0", "generator.upsampling=transposed"),
    *("generator.full_resolution_channels=0", "generator.encoder_blur=1"),
)
UNTRAINED = "untrained generator"


def drawn_patches(store: Path, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return low and full dose of one batch of the recipe, without augmentation, in [0, 1]."""
    sampler = build_sampler(
        open_store(store).with_patches_of(recipe.data.patch_size), recipe, launch_fabric(recipe, "cpu")
    )
    low, full = sampler.batch()
    return low, full


def images(
    recipe: Recipe, weights: ImageNetWeights, low: Tensor, full: Tensor, seeds: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield what the loss is measured of, by name."""
    for seed in range(1, seeds + 1):
        torch.manual_seed(seed)
        network = build_generator(recipe).train()
        weights.load_into_encoder(network.encoder, recipe.generator.options["backbone"])
        with torch.no_grad():
            output = network(low)
        yield UNTRAINED, output
    yield "constant image", torch.full_like(full, float(full.mean()))
    noise = NOISE_HU / (recipe.data.normalization.upper_hu - recipe.data.normalization.lower_hu)
    yield f"full dose + {NOISE_HU:g} HU of white noise", full + noise * torch.randn(full.shape)
    yield "low dose", low


def measured(image: Tensor, full: Tensor, perceptual: PerceptualLoss, recipe: Recipe) -> dict[str, float]:
    """Return both weighted terms and the norm of their gradients at a patch, in the mean over patches."""
    row: dict[str, float] = {}
    for name, term, weight in (
        ("perceptual", perceptual, recipe.losses.perceptual),
        ("l1", mean_absolute, recipe.losses.pixel),
    ):
        output = image.detach().requires_grad_()
        loss = weight * term(output, full)
        (gradient,) = torch.autograd.grad(len(full) * loss, output)
        row[name] = float(loss.detach())
        row[f"{name}_gradient_norm"] = float(gradient.flatten(start_dim=1).norm(dim=1).mean())
    return row


def perceptual_of(recipe: Recipe, weights: ImageNetWeights) -> PerceptualLoss:
    losses = recipe.losses
    perceptual = PerceptualLoss(losses.perceptual_backbone, losses.perceptual_stages, losses.perceptual_layers)
    weights.load_into_perceptual(perceptual.network, losses.perceptual_backbone, losses.perceptual_backbone)
    return perceptual


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--recipe", default="wgan-gp-efflite0")
    parser.add_argument("--weights", type=Path, help="of the recipe's network, in timm's naming")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--patches", type=int, default=128, help="a multiple of 4")
    parser.add_argument("--wanted", type=float, default=0.8, help="weighted loss of an untrained generator (figure 7)")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    changes = [*PUBLISHED_LAYOUT, f"losses.perceptual={WEIGHT}", "losses.perceptual_scale=1.0"]
    changes += [f"data.images_per_batch={asked.patches // 4}", "data.patches_per_image=4"]
    recipe = load_recipe(asked.recipe, [*changes, "data.augmentation.choices=[none]", "training.precision=float32"])
    weights = ImageNetWeights(True, asked.weights)
    perceptual = perceptual_of(recipe, weights)
    low, full = drawn_patches(asked.store, recipe)
    rows = [
        {"image": name, **measured(image, full, perceptual, recipe)}
        for name, image in images(recipe, weights, low, full, asked.seeds)
    ]
    print(f"{'':36} {'perceptual':>11} {'gradient':>9} {'L1':>8} {'gradient':>9}")
    for row in rows:
        numbers = row["perceptual"], row["perceptual_gradient_norm"], row["l1"], row["l1_gradient_norm"]
        print(f"{row['image']:36} {numbers[0]:11.4g} {numbers[1]:9.3g} {numbers[2]:8.4f} {numbers[3]:9.3g}")
    untrained = [float(row["perceptual"]) for row in rows if row["image"] == UNTRAINED]
    scale = asked.wanted / (math.fsum(untrained) / len(untrained))
    print(f"perceptual_scale of {recipe.losses.perceptual_backbone} for {asked.wanted:g}: {scale:.3g}")
    if asked.json:
        report = {"recipe": recipe.name, "backbone": recipe.losses.perceptual_backbone, "scale": scale, "rows": rows}
        asked.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

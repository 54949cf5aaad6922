"""Recipes: the published numbers, and what a wrong override gets."""

from __future__ import annotations

import pytest
import yaml

from ldctpipe.errors import UsageError
from ldctpipe.recipes.library import load_recipe, recipe_from_file, recipe_to_yaml, shipped_names
from ldctpipe.recipes.networks import build_generator


def test_flagship_has_the_published_numbers():
    recipe = load_recipe("wgan-gp-effnetv2")

    assert (recipe.losses.adversarial, recipe.losses.pixel, recipe.losses.perceptual) == (1.0, 1.0, 0.1)
    assert (recipe.algorithm.gradient_penalty, recipe.algorithm.critic_updates) == (10.0, 4)
    assert (recipe.optimizer.name, recipe.optimizer.betas) == ("adamw", (0.5, 0.999))
    assert (recipe.optimizer.generator_learning_rate, recipe.optimizer.critic_learning_rate) == (2e-4, 1e-4)
    assert (recipe.data.images_per_batch, recipe.data.patches_per_image, recipe.data.patch_size) == (32, 4, 64)
    assert recipe.data.batch_size == 128
    assert (recipe.data.normalization.lower_hu, recipe.data.normalization.upper_hu) == (-1000, 2000)
    assert set(recipe.data.augmentation.choices) == {"rotation", "flip", "intensity", "none"}
    assert (recipe.data.augmentation.rotation_deg, recipe.data.augmentation.intensity_factors) == (45, (0.5, 2.0))
    assert recipe.training.iterations == 200_000
    assert recipe.schedule.name == "cosine_warm_restarts"


VARIANTS = [name for name in shipped_names() if load_recipe(name).status == "variant"]
# Other readings or options of a published method, whose HU range is its own.
PUBLISHED_RANGES = {
    "corediff-1": (-1024, 3072),
    "wgan-gp-effnetv2-abstract": (-1000, 2000),
    "wgan-gp-effnetv2-deep-skips": (-1000, 2000),
    "wgan-gp-effnetv2-literal": (-1000, 2000),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_hu_range_of_a_variant_is_the_published_one_or_holds_noisy_air(name):
    """At −1000 HU noise of 40 HU stays above −1200 in all but 3 of 10 million pixels (5 standard deviations)."""
    hu = load_recipe(name).data.normalization
    if name in PUBLISHED_RANGES:
        assert (hu.lower_hu, hu.upper_hu) == PUBLISHED_RANGES[name]
    else:
        assert hu.lower_hu <= -1200


def test_the_literal_variant_differs_in_the_published_patience_alone():
    literal, recipe = load_recipe("wgan-gp-effnetv2-literal"), load_recipe("wgan-gp-effnetv2")

    assert literal.training.early_stopping_iterations == 5_000
    patience = {"early_stopping_cycles": recipe.training.early_stopping_cycles, "early_stopping_iterations": None}
    sections = {"generator", "critic", "algorithm", "losses", "optimizer", "schedule", "data", "seed"}
    assert literal.model_dump(include=sections) == recipe.model_dump(include=sections)
    assert literal.training.model_copy(update=patience) == recipe.training


def test_a_recipe_of_an_older_bundle_is_still_read(tmp_path):
    """Patience in iterations was required, and no algorithm but two had averaged weights."""
    content = load_recipe("red-cnn").model_dump(mode="json")
    del content["training"]["early_stopping_cycles"]
    content["training"]["early_stopping_iterations"] = 1_000_000
    for name in ("average_decay", "average_every", "average_from"):
        del content["algorithm"][name]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))

    recipe = recipe_from_file(tmp_path / "recipe.yaml")

    assert (recipe.training.early_stopping_iterations, recipe.training.early_stopping_cycles) == (1_000_000, None)
    assert recipe.algorithm.average_decay == 0


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("red-cnn", 160 * 55 * 55),
        ("wgan-gp-effnetv2", 5 * 128 * 64 * 64),  # four updates of the critic and one of the generator
        ("cpce-3d", 5 * 128 * 64 * 64 * 9),
    ],
)
def test_an_iteration_sees_the_pixels_of_all_its_batches(name, pixels):
    assert load_recipe(name).pixels_an_iteration == pixels


@pytest.mark.parametrize("name", shipped_names())
def test_a_resolved_recipe_reads_back_as_itself(name, tmp_path):
    recipe = load_recipe(name)
    (tmp_path / "recipe.yaml").write_text(recipe_to_yaml(recipe))

    assert recipe.name == name
    assert recipe_from_file(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize("name", shipped_names())
def test_what_trains_without_pairs_is_not_chosen_on_pairs(name):
    recipe = load_recipe(name)

    assert recipe.training.keep == ("last" if recipe.data.pairing == "unpaired" else "best")


def test_an_override_changes_one_value():
    changed = load_recipe("wgan-gp-effnetv2", ["losses.adversarial=0.5"])

    assert changed.losses.adversarial == 0.5
    restored = changed.losses.model_copy(update={"adversarial": 1.0})
    assert changed.model_copy(update={"losses": restored}) == load_recipe("wgan-gp-effnetv2")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("losses.adversarialx=1", "no such key"),
        ("losses.pixel=much", "losses.pixel"),
        ("training.iterations=-1", "training.iterations"),
        ("data.patch_size=15", "data.patch_size"),
        ("training.early_stopping_iterations=5000", "has to be null"),
        ("generator.skips=none", "generator.skips"),
        ("losses.pixel", "has no '='"),
        ("name.x=1", "no such key"),
        ("name=wgan-gp-effnetv2-mini", "says what a recipe is"),
        ("training.iterations=true", "iterations should be a number"),
        ("losses.adversarial=.inf", "losses.adversarial"),
        ("data.augmentation.choices=[]", "data.augmentation.choices"),
        ("generator.decoder_channels=[8,8]", "generator.decoder_channels"),
        ("optimizer.betas=[0.5,1.0]", "optimizer.betas"),
    ],
)
def test_a_wrong_override_is_named(override, says):
    with pytest.raises(UsageError, match=says):
        load_recipe("wgan-gp-effnetv2", [override])


def test_a_backbone_that_timm_lacks_is_named():
    with pytest.raises(UsageError, match="no network 'nothing'"):
        build_generator(load_recipe("wgan-gp-effnetv2", ["generator.backbone=nothing"]))


def test_an_unknown_recipe_lists_the_known():
    with pytest.raises(UsageError, match="wgan-gp-effnetv2-mini"):
        load_recipe("wgan-gp-effnet")


def test_a_file_with_an_unknown_key_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: wgan-gp-effnetv2\nname: mine\nlosses: {ssim: 1.0}\n")

    with pytest.raises(UsageError, match=r"losses\.ssim"):
        load_recipe(str(tmp_path / "mine.yaml"))

"""Where the network of the perceptual loss gets its weights, and what is said when it gets none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from ldctpipe.errors import InputError, UsageError
from ldctpipe.models.packaged_weights import package_of
from ldctpipe.recipes.library import load_recipe, shipped_names
from ldctpipe.training import imagenet, run
from ldctpipe.training.assembly import build_algorithm
from ldctpipe.training.imagenet import ImageNetWeights
from ldctpipe.training.launch import launch_fabric
from ldctpipe.training.run import train_bundle

SMALL = (
    "training.iterations=2", "training.validate_every=2", "data.images_per_batch=2", "data.patch_size=32",
    "generator.channels=4", "critic.channels=[2,2]", "critic.hidden=4", "algorithm.critic_updates=1",
)  # fmt: skip
VGG = "vgg19.tv_in1k"
LITE0 = "tf_efficientnet_lite0.in1k"
SMALL_FLAGSHIP = (
    *SMALL[:3],
    "data.patch_size=64",
    "data.patches_per_image=1",
    "critic.channels=[2,2]",
    "critic.hidden=4",
)


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    """Random weights of a whole VGG-19 in timm's naming, as a download has them; the classifier is not needed."""
    path = tmp_path_factory.mktemp("weights") / f"{VGG}.safetensors"
    torch.manual_seed(0)
    state = timm.create_model(VGG, pretrained=False).state_dict()
    save_file({name: value for name, value in state.items() if name.startswith("features.")}, path)
    return path


@pytest.fixture
def no_hub(monkeypatch):
    def refuse(_: str):
        raise ConnectionError("no route")

    monkeypatch.setattr(imagenet, "hub_weights", refuse)


@pytest.fixture
def request_of(request_for):
    def make(name: str, *overrides: str, **changes):
        options = {"pretrained": True, **changes}
        return replace(request_for(name), recipe=load_recipe(name, [*SMALL, *overrides]), **options)

    return make


@pytest.mark.parametrize("as_folder", [False, True])
def test_a_file_reaches_the_loss(request_of, vgg_file, no_hub, as_folder):
    request = request_of("wgan-vgg", perceptual_weights=vgg_file.parent if as_folder else vgg_file)

    card = train_bundle(request)

    header, *rows = (request.out / "training.csv").read_text().splitlines()
    last = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    assert float(last["loss_perceptual"]) > 0
    assert not any("left out" in note for note in card["notes"])
    assert not card["pretrained"]  # the denoiser itself started at random


@pytest.mark.skipif(package_of(LITE0).path() is None, reason="the optional package of these weights")
def test_a_package_serves_encoder_and_loss_without_flags(request_for, no_hub):
    recipe = load_recipe("wgan-gp-efflite0", SMALL_FLAGSHIP)

    card = train_bundle(replace(request_for("packaged"), recipe=recipe, pretrained=True))

    assert card["pretrained"]
    assert card["notes"] == [recipe.caution]


def test_the_loss_has_exactly_these_weights(vgg_file, no_hub):
    from safetensors.torch import load_file

    recipe = load_recipe("wgan-vgg", SMALL)
    algorithm = build_algorithm(recipe, ImageNetWeights(True, None, vgg_file), launch_fabric(recipe, "cpu"))

    expected = load_file(vgg_file)
    state = algorithm.perceptual.network.state_dict()
    assert len(state) == 32
    assert all(torch.equal(value, expected[name]) for name, value in state.items())


def test_without_weights_one_sentence_says_what_to_do(request_of, no_hub):
    with pytest.raises(InputError, match=r"--perceptual-weights FILE, or train without the perceptual loss"):
        train_bundle(request_of("wgan-vgg"))


def test_the_encoders_weights_do_not_pass_for_another_networks(request_of, vgg_file, no_hub):
    with pytest.raises(InputError, match=f"{VGG}: its ImageNet weights can't be fetched"):
        train_bundle(request_of("wgan-vgg", backbone_weights=vgg_file))


def test_a_folder_without_the_network_is_named(request_of, tmp_path, no_hub):
    (tmp_path / "weights").mkdir()
    with pytest.raises(InputError, match=f"holds no weights of {VGG}"):
        train_bundle(request_of("wgan-vgg", perceptual_weights=tmp_path / "weights"))


def test_weights_of_another_network_are_named(request_of, tmp_path, no_hub):
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "w.safetensors")

    with pytest.raises(InputError, match=r"w\.safetensors: does not fit|w\.safetensors: lacks"):
        train_bundle(request_of("wgan-vgg", perceptual_weights=tmp_path / "w.safetensors"))


def test_without_pretraining_the_term_is_left_out_and_the_card_says_so(request_of, no_hub):
    card = train_bundle(request_of("wgan-vgg", "losses.pixel=1.0", pretrained=False))

    assert any("perceptual loss was left out" in note for note in card["notes"])
    assert not any("critic alone" in note for note in card["notes"])


def test_a_training_that_nothing_but_a_critic_judges_is_told_in_its_card(request_of, no_hub):
    card = train_bundle(request_of("wgan-vgg", pretrained=False))

    assert any("critic alone may change or invent structure" in note for note in card["notes"])


def test_published_weights_without_the_perceptual_loss_are_warned_of(request_for):
    card = train_bundle(request_for("published", "losses.adversarial=1.0", iterations=2))
    balanced = train_bundle(request_for("balanced", iterations=2))

    # in a patch of 64 × 64 pixels L1 has a gradient of norm 1/64, and the penalty holds the critic's at 1
    assert any("the critic pulls 64 times as hard as L1" in note for note in card["notes"])
    assert not any("times as hard" in note for note in balanced["notes"])


def test_file_and_no_pretrained_contradict_each_other(request_of, vgg_file):
    with pytest.raises(UsageError, match="--no-pretrained and --perceptual-weights contradict"):
        train_bundle(request_of("wgan-vgg", pretrained=False, perceptual_weights=vgg_file))


WITHOUT_ANOTHER_TERM = {"drl-cascade-2", "drl-cascade-3"}


@pytest.mark.parametrize("name", [name for name in shipped_names() if load_recipe(name).losses.perceptual > 0])
@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_a_recipe_that_has_no_other_loss_is_refused(request_for, monkeypatch, name, pixel):

    def begin(*_):
        raise InterruptedError("training began")

    monkeypatch.setattr(run, "launch_fabric", begin)
    recipe = load_recipe(name, ["data.patch_size=32", f"losses.pixel={max(pixel, load_recipe(name).losses.pixel)}"])
    refused = name in WITHOUT_ANOTHER_TERM and not pixel
    fault, says = (UsageError, "or another term, as --set losses.pixel=1") if refused else (InterruptedError, "began")
    with pytest.raises(fault, match=says):
        train_bundle(replace(request_for("refused"), recipe=recipe, pretrained=False))


def test_a_recipe_without_the_term_asks_for_no_weights(request_for, no_hub):
    recipe = load_recipe("red-cnn", [*SMALL[:5], "data.patches_per_image=1"])

    card = train_bundle(replace(request_for("plain"), recipe=recipe, pretrained=True))

    assert card["notes"] == []


def test_other_weights_are_another_training(request_of, vgg_file, tmp_path, no_hub):
    other = tmp_path / "other.safetensors"
    torch.manual_seed(1)
    state = timm.create_model(VGG, pretrained=False).state_dict()
    save_file({name: value for name, value in state.items() if name.startswith("features.")}, other)
    request = request_of("wgan-vgg", perceptual_weights=vgg_file)
    train_bundle(request)

    with pytest.raises(InputError, match="starting weights"):
        train_bundle(replace(request, out=tmp_path / "again", perceptual_weights=other, resume=True))

"""Training that starts from a bundle: its weights, its recipe's limits, and what the card remembers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from conftest import small_recipe
from safetensors.torch import load_file

from ldctpipe.errors import InputError
from ldctpipe.training.run import train_bundle


def test_it_starts_with_the_bundles_weights(request_for):
    first = request_for("first")
    train_bundle(first)

    second = request_for(
        "second", "optimizer.generator_learning_rate=1e-12", "optimizer.weight_decay=0.0",
        "training.batch_norm=frozen", "seed=9", iterations=2, init=first.out,
    )  # fmt: skip
    train_bundle(second)

    before, after = (load_file(request.out / "model.safetensors") for request in (first, second))
    for name, tensor in before.items():
        if name.startswith("encoder."):
            assert torch.allclose(after[name].double(), tensor.double(), atol=1e-6), name


def test_the_card_keeps_the_lineage(request_for):
    first, second, third = request_for("first"), request_for("second"), request_for("third")
    train_bundle(first)
    train_bundle(replace(second, init=first.out))

    card = train_bundle(replace(third, init=second.out))

    cards = [json.loads((request.out / "card.json").read_text()) for request in (second, first)]
    assert [one["weights"]["sha256"] for one in card["lineage"]] == [one["weights"]["sha256"] for one in cards]
    assert card["lineage"][1]["data"]["patients"] == ["P1", "P2"]
    assert any(f"started from the bundle {cards[0]['name']}" in note for note in card["notes"])
    assert not any("from scratch" in note for note in card["notes"])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("generator.decoder_channels=[8,8,8,8,8]", "another network"),
        ("data.normalization.upper_hu=3000.0", "another HU range"),
    ],
)
def test_a_bundle_that_means_something_else_is_refused(request_for, change, what):
    first = request_for("first", iterations=2)
    train_bundle(first)

    with pytest.raises(InputError, match=f"was trained with {what}"):
        train_bundle(request_for("second", change, init=first.out))


def test_checkpoints_of_another_start_are_refused(request_for):
    first, second = request_for("first", iterations=2), request_for("second", iterations=2)
    train_bundle(first)
    train_bundle(second)

    with pytest.raises(InputError, match="starting weights"):
        train_bundle(replace(second, out=second.out.with_name("third"), init=first.out, resume=True))


def test_the_last_weights_are_kept_on_demand_without_training_again(request_for, monkeypatch):
    from ldctpipe.training.validation import Validation, ValidationResult

    losses = iter([0.1, 0.5, 0.6])
    monkeypatch.setattr(Validation, "run", lambda *_: ValidationResult(next(losses), 30.0, 0.9, 10.0, {}))
    request = request_for("best")
    train_bundle(request)

    recipe = small_recipe("training.iterations=6", "training.keep=last")
    card = train_bundle(replace(request, out=request.out.with_name("last"), recipe=recipe, resume=True))

    assert card["training"]["kept"] == "last"
    newest = torch.load(sorted(request.checkpoints.glob("iteration-*.pt"))[-1])["algorithm"]["generator"]
    last, best = (load_file(request.out.with_name(name) / "model.safetensors") for name in ("last", "best"))
    assert all(torch.equal(last[name], tensor) for name, tensor in newest.items())
    assert not all(torch.equal(last[name], tensor) for name, tensor in best.items())


CPCE = ("critic.channels=[2,2]", "critic.hidden=4", "algorithm.critic_updates=1", "generator.channels=4")


def cpce(request_for, tmp_path, name: str, *overrides: str, **changes):
    from ldctpipe.recipes.library import load_recipe

    plan = ("training.iterations=2", "training.validate_every=2", "data.images_per_batch=2", "data.patch_size=32")
    recipe = load_recipe(name, [*plan, *CPCE, "losses.pixel=1.0", *overrides])  # no perceptual network here
    return replace(request_for(name), recipe=recipe, **changes)


def test_a_3d_network_starts_from_a_trained_2d_one(request_for, tmp_path):
    flat = cpce(request_for, tmp_path, "cpce-2d")
    train_bundle(flat)
    deep = cpce(
        request_for, tmp_path, "cpce-3d", "optimizer.generator_learning_rate=1e-12", "data.context=2", init=flat.out
    )

    card = train_bundle(deep)

    before, after = (load_file(request.out / "model.safetensors") for request in (flat, deep))
    for number in range(4):
        kernel, plane = after[f"encoder.{number}.weight"], before[f"encoder.{number}.weight"]
        middle = kernel.shape[2] // 2
        assert kernel.shape[2] == (3 if number < 2 else 1)
        assert torch.allclose(kernel[:, :, middle], plane, atol=1e-6)
        assert float(kernel.abs().sum() - kernel[:, :, middle].abs().sum()) < 1e-3
    assert torch.allclose(after["decoder.last.weight"], before["decoder.last.weight"], atol=1e-6)
    assert card["lineage"][0]["name"] == "cpce-2d"


@pytest.mark.parametrize(
    ("change", "what"),
    [("generator.channels=6", "another network"), ("data.normalization.upper_hu=400.0", "another HU range")],
)
def test_a_3d_network_of_another_width_or_range_does_not(request_for, tmp_path, change, what):
    flat = cpce(request_for, tmp_path, "cpce-2d")
    train_bundle(flat)

    with pytest.raises(InputError, match=f"was trained with {what}"):
        train_bundle(cpce(request_for, tmp_path, "cpce-3d", change, init=flat.out))


def test_a_2d_network_does_not_start_from_a_3d_one(request_for, tmp_path):
    deep = cpce(request_for, tmp_path, "cpce-3d")
    train_bundle(deep)

    with pytest.raises(InputError, match="was trained with another network"):
        train_bundle(cpce(request_for, tmp_path, "cpce-2d", init=deep.out))

"""Training: what a bundle says, that resuming is exact, and that nothing is lost."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldctpipe.errors import ExitCode, InputError, StoppedEarly, UsageError
from ldctpipe.recipes.bundle import read_bundle
from ldctpipe.recipes.library import load_recipe
from ldctpipe.training.loop import TrainingLoop
from ldctpipe.training.run import train_bundle


def rows_of(bundle):
    with (bundle / "training.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_bundle_tells_how_it_was_made(request_for, tiny_store):
    request = request_for("model")

    card = train_bundle(request)

    bundle = read_bundle(request.out)
    assert bundle.card == card | bundle.card
    assert bundle.card["training"]["iterations"] == 6
    assert bundle.card["data"]["patients"] == ["P1", "P2"]
    assert bundle.card["data"]["voxels"] == {"slice_spacing_mm": [3.0, 3.0], "pixel_mm": [0.7, 0.7]}
    assert any("perceptual loss was left out" in note for note in bundle.card["notes"])
    assert any("results are not the method's" in note for note in bundle.card["notes"])
    assert bundle.recipe.losses.perceptual == 0.0
    assert len(rows_of(request.out)) == 6


def test_a_resumed_run_ends_with_the_same_bytes(request_for, monkeypatch):
    whole, broken = request_for("whole"), request_for("broken")
    train_bundle(whole)
    stop_after(monkeypatch, iteration=3)
    with pytest.raises(StoppedEarly, match="SIGTERM: saved at iteration 3"):
        train_bundle(broken)
    monkeypatch.undo()

    train_bundle(replace(broken, resume=True))

    assert (whole.out / "model.safetensors").read_bytes() == (broken.out / "model.safetensors").read_bytes()
    assert without_times(rows_of(whole.out)) == without_times(rows_of(broken.out))


def without_times(rows):
    return [{k: v for k, v in row.items() if k not in ("seconds", "iteration_s", "memory_mib")} for row in rows]


def stop_after(monkeypatch, iteration: int) -> None:
    original = TrainingLoop._stop_if_asked
    monkeypatch.setattr(
        TrainingLoop,
        "_stop_if_asked",
        lambda loop, asked: original(loop, asked) if loop.progress.iteration != iteration else stopped(loop),
    )

    def stopped(loop: TrainingLoop) -> None:
        loop._save()
        original(loop, "SIGTERM")


def test_sigterm_saves_and_exits_with_75(request_for, tiny_store, tmp_path):
    out = tmp_path / "model"
    command = [sys.executable, "-m", "ldctpipe.cli.app", "train", str(tiny_store), str(out)]
    command += [
        "--recipe",
        "wgan-gp-effnetv2-mini",
        "--no-pretrained",
        "--device",
        "cpu",
        "--set",
        "training.log_every=1",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "model.checkpoints" / "training.csv"
    while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 1):
        time.sleep(0.1)

    process.send_signal(signal.SIGTERM)

    _, errors = process.communicate(timeout=60)
    assert process.returncode == ExitCode.RESUMABLE
    assert "saved at iteration" in errors.splitlines()[-1]
    assert list((tmp_path / "model.checkpoints").glob("iteration-*.pt"))
    assert not out.exists()


def test_it_stops_when_validation_no_longer_improves(request_for, monkeypatch):
    from ldctpipe.training.validation import Validation, ValidationResult

    losses = iter([0.5, 0.4, 0.45, 0.41, 0.3])
    monkeypatch.setattr(Validation, "run", lambda *_: ValidationResult(next(losses), 30.0, 0.9, 10.0, {}))
    request = request_for("model", "training.early_stopping_iterations=4", iterations=50)

    card = train_bundle(request)

    assert card["training"]["iterations"] == 8  # best at 4, then 4 iterations without a better one
    assert card["training"]["best_iteration"] == 4
    assert "did not improve for 4 iterations" in card["training"]["stopped_because"]


def test_patience_in_cycles_counts_their_ends(request_for, monkeypatch):
    from ldctpipe.training.validation import Validation, ValidationResult

    losses = iter([0.5, 0.4, 0.1, 0.45, 0.1, 0.41])  # better ones between the ends of cycles of 4 iterations
    monkeypatch.setattr(Validation, "run", lambda *_: ValidationResult(next(losses), 30.0, 0.9, 10.0, {}))
    settings = ("training.early_stopping_cycles=2", "schedule.cycles=5")
    request = request_for("model", *settings, iterations=20)

    card = train_bundle(request)

    assert card["training"]["iterations"] == 12
    assert card["training"]["best_iteration"] == 6
    assert "did not improve for 2 cycles" in card["training"]["stopped_because"]


def resumed_after_its_end(request, monkeypatch):
    """Train to the end, fail to write the bundle, and return the card of the same training resumed."""
    from ldctpipe.training import run

    with monkeypatch.context() as patched:
        patched.setattr(run, "write_bundle", lambda *_: (_ for _ in ()).throw(OSError("disk gone")))
        with pytest.raises(OSError, match="disk gone"):
            train_bundle(request)
    return train_bundle(replace(request, resume=True))


def test_cycles_that_were_judged_are_remembered_over_an_interruption(request_for, monkeypatch):
    from ldctpipe.training.validation import Validation, ValidationResult

    losses = iter([0.5, 0.4, 0.5, 0.45])
    monkeypatch.setattr(Validation, "run", lambda *_: ValidationResult(next(losses), 30.0, 0.9, 10.0, {}))
    request = request_for("model", "training.early_stopping_cycles=1", "schedule.cycles=5", iterations=20)

    card = resumed_after_its_end(request, monkeypatch)  # a further validation would exhaust the iterator

    assert card["training"]["iterations"] == 8


def test_a_run_killed_after_its_early_stop_ends_the_same(request_for, monkeypatch):
    from ldctpipe.training.validation import Validation, ValidationResult

    losses = iter([0.4, 0.5, 0.6])
    monkeypatch.setattr(Validation, "run", lambda *_: ValidationResult(next(losses), 30.0, 0.9, 10.0, {}))
    request = request_for("model", "training.early_stopping_iterations=4", iterations=50)

    card = resumed_after_its_end(request, monkeypatch)  # a further validation would exhaust the iterator

    assert card["training"]["iterations"] == 6
    assert card["training"]["best_iteration"] == 2


def test_best_weights_stay_as_long_as_a_checkpoint_needs_them(request_for, monkeypatch):
    from ldctpipe.training.validation import Validation, ValidationResult

    losses = iter([0.9, 0.8, 0.7, 0.6, 0.95, 0.95, 0.95, 0.95])
    monkeypatch.setattr(Validation, "run", lambda *_: ValidationResult(next(losses), 30.0, 0.9, 10.0, {}))
    request = request_for("model", "training.validate_every=1", "training.checkpoint_every=3", iterations=8)

    card = train_bundle(request)

    kept = {path.name for path in request.checkpoints.glob("best-*")}
    assert card["training"]["best_iteration"] == 4
    assert kept == {"best-0000004.safetensors"}  # of the checkpoints after 6 and 8 iterations
    assert (request.out / "model.safetensors").read_bytes() == (request.checkpoints / kept.pop()).read_bytes()


def test_a_damaged_checkpoint_is_passed_over_and_only_damaged_ones_are_an_error(request_for):
    whole, damaged = request_for("whole"), request_for("damaged")
    train_bundle(whole)
    train_bundle(replace(damaged, out=damaged.out.with_name("first")))
    checkpoints = sorted(damaged.checkpoints.glob("iteration-*.pt"))
    checkpoints[-1].write_bytes(checkpoints[-1].read_bytes()[:1000])

    train_bundle(replace(damaged, resume=True))

    assert (whole.out / "model.safetensors").read_bytes() == (damaged.out / "model.safetensors").read_bytes()
    altered = sorted(damaged.checkpoints.glob("iteration-*.pt"))[-1]
    state = torch.load(altered, weights_only=True)
    torch.save({**state, "algorithm": {"networks": [torch.zeros(2, 3)]}}, altered)
    with pytest.raises(InputError, match="does not fit its own training"):
        train_bundle(replace(damaged, resume=True, out=damaged.out.with_name("second")))
    for path in damaged.checkpoints.glob("iteration-*.pt"):
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="only damaged checkpoints"):
        train_bundle(replace(damaged, resume=True, out=damaged.out.with_name("third")))


def test_changes_to_a_recipe_stand_in_the_card(request_for):
    card = train_bundle(replace(request_for("model", iterations=2), overrides=("losses.pixel=2.0",)))

    assert card["overrides"] == ["losses.pixel=2.0"]
    assert any("Changed from the recipe wgan-gp-effnetv2-mini: losses.pixel=2.0" in note for note in card["notes"])


@pytest.fixture
def asked_for(monkeypatch):
    """A function that gives `ldctpipe train` further options and returns what it asks the training for."""
    from ldctpipe.cli.app import run as command
    from ldctpipe.training import run

    def ask(*options: str):
        requests = []

        def train(request):
            requests.append(request)
            return {"training": {"kept": "last", "iterations": 0}}

        monkeypatch.setattr(run, "train_bundle", train)
        assert command(["train", "store", "model", *options]) == ExitCode.DONE
        return requests[0]

    return ask


def test_which_weights_are_kept_is_the_recipes_unless_asked_for(asked_for):
    assert asked_for("--recipe", "red-cnn").recipe.training.keep == "best"
    assert asked_for("--recipe", "cyclegan").recipe.training.keep == "last"
    assert asked_for("--recipe", "cyclegan", "--keep", "best").recipe.training.keep == "best"
    last = asked_for("--recipe", "red-cnn", "--set", "training.keep=best", "--keep", "last")
    assert (last.recipe.training.keep, last.overrides[-1]) == ("last", "training.keep=last")


@pytest.mark.parametrize("form", [("--iterations", "{}"), ("--set", "training.iterations={}")])
def test_a_budget_for_networks_does_not_lengthen_the_choice_of_a_filters_strength(asked_for, form):
    def request(recipe: str, iterations: int):
        return asked_for("--recipe", recipe, form[0], form[1].format(iterations))

    long, short, network = request("nlm", 20_000), request("nlm", 3), request("red-cnn", 20_000)

    assert (long.recipe, long.overrides) == (load_recipe("nlm"), ())
    assert (short.recipe.training.iterations, short.overrides) == (3, ("training.iterations=3",))
    assert (network.recipe.training.iterations, network.overrides) == (20_000, ("training.iterations=20000",))


def test_frozen_statistics_of_weights_that_are_not_there_are_refused(request_for):
    with pytest.raises(UsageError, match="batch_norm=frozen keeps the statistics of ImageNet weights"):
        train_bundle(request_for("model", "training.batch_norm=frozen"))


def test_from_scratch_and_from_a_file_contradict_each_other(request_for, tmp_path):
    with pytest.raises(UsageError, match="contradict"):
        train_bundle(request_for("model", backbone_weights=tmp_path))


def test_checkpoints_of_another_recipe_are_refused(request_for):
    request = request_for("model")
    train_bundle(request)

    with pytest.raises(InputError, match="another recipe, seed, store or starting weights"):
        train_bundle(replace(request_for("model", "losses.pixel=2"), out=request.out.with_name("b"), resume=True))
    with pytest.raises(InputError, match="--resume"):
        train_bundle(replace(request, out=request.out.with_name("c")))


def test_backbone_weights_from_a_file_reach_encoder_and_perceptual_loss(request_for, backbone_file):
    request = request_for(
        "model", "optimizer.generator_learning_rate=1e-12", "optimizer.weight_decay=0.0", "training.batch_norm=frozen",
        iterations=2, pretrained=True, backbone_weights=backbone_file,
    )  # fmt: skip

    card = train_bundle(request)

    trained, weights = load_file(request.out / "model.safetensors"), load_file(backbone_file)
    for name in ("conv_stem.weight", "blocks.3.0.conv_dw.weight", "bn1.running_mean"):
        assert torch.allclose(trained[f"encoder.{name}"], weights[name], atol=1e-6)
    assert card["pretrained"]
    assert float(rows_of(request.out)[-1]["loss_perceptual"]) > 0
    assert float(rows_of(request.out)[-1]["gradient_norm_perceptual"]) > 0


@pytest.mark.parametrize("content", [b"not weights", b""])
def test_a_file_that_holds_no_weights_is_named(request_for, tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)

    with pytest.raises(InputError, match=r"w\.pth: holds no weights"):
        train_bundle(request_for("model", pretrained=True, backbone_weights=tmp_path / "w.pth"))


def test_weights_that_no_hub_gives_are_asked_for_and_never_left_out(request_for, monkeypatch):
    from ldctpipe.training import imagenet

    monkeypatch.setattr(imagenet, "hub_weights", lambda _: (_ for _ in ()).throw(ConnectionError("no route")))
    request = request_for("model", pretrained=True)

    with pytest.raises(InputError, match="--backbone-weights FILE, or train from scratch with --no-pretrained"):
        train_bundle(request)

    assert not request.out.exists()


def test_weights_of_another_network_are_named(request_for, tmp_path):
    save_file({"conv_stem.weight": torch.zeros(3, 3)}, tmp_path / "w.safetensors")

    with pytest.raises(InputError, match=r"w\.safetensors: does not fit|w\.safetensors: lacks"):
        train_bundle(request_for("model", pretrained=True, backbone_weights=tmp_path / "w.safetensors"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA, so asking for it is no fault")
def test_cuda_that_is_not_there(request_for):
    with pytest.raises(UsageError, match="--device cuda"):
        train_bundle(request_for("model", device="cuda"))


@pytest.mark.parametrize("small_disk", ["170m"], indirect=True)
def test_a_full_disk_keeps_the_last_good_checkpoint(request_for, small_disk):
    request = request_for("model", iterations=40, checkpoints=small_disk / "c")

    with pytest.raises(OSError, match="No space left"):
        train_bundle(request)

    kept = sorted((small_disk / "c").glob("iteration-*.pt"))
    assert kept
    assert torch.load(kept[-1], weights_only=True)["progress"]["iteration"] > 0
    assert not list((small_disk / "c").glob(".*partial"))
    assert not request.out.exists()

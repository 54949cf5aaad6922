"""A training that leaves the road goes back to its last good state, and says so; the fourth time it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_training_run import rows_of

from ldctpipe.errors import InputError, StoppedEarly
from ldctpipe.training.loop import TrainingLoop
from ldctpipe.training.run import train_bundle
from ldctpipe.training.wgan_gp import WganGp


def diverge_at(monkeypatch, *steps: int, with_weights: bool = False) -> list[int]:
    """Make steps of these numbers, counted over all attempts, give NaN; return the list that counts them."""
    original, taken = WganGp.step, []

    def step(self, *arguments, **options):
        losses = original(self, *arguments, **options)
        taken.append(len(taken) + 1)
        if taken[-1] in steps:
            if with_weights:
                next(self.denoiser.parameters()).data[0] = torch.nan
            else:
                losses["loss_critic"] = torch.tensor(torch.nan)
        return losses

    monkeypatch.setattr(WganGp, "step", step)
    return taken


def test_it_goes_back_and_on_with_other_random_numbers(request_for, monkeypatch, capsys):
    taken = diverge_at(monkeypatch, 4)

    card = train_bundle(request_for("model"))

    assert card["training"]["iterations"] == 6
    assert card["training"]["rollbacks"] == 1
    assert len(taken) == 4 + 4  # back from iteration 4 to 2, and on to 6
    said = capsys.readouterr().err
    assert "loss_critic is nan at iteration 4: the training diverged; going back to iteration 2" in said


def test_the_log_has_each_iteration_once(request_for, monkeypatch):
    diverge_at(monkeypatch, 4)
    request = request_for("model")

    train_bundle(request)

    assert [row["iteration"] for row in rows_of(request.out)] == ["1", "2", "3", "4", "5", "6"]


def test_tensorboard_and_previews_hold_nothing_of_the_attempt_that_was_left(request_for, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    diverge_at(monkeypatch, 6)
    request = request_for("model", "training.checkpoint_every=3", "training.validate_every=1", iterations=7, previews=7)

    train_bundle(request)

    events = EventAccumulator(str(request.checkpoints / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("validation_loss")] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.step for event in events.Scalars("loss_critic")] == [1, 2, 3, 4, 5, 6, 7]
    assert len(list((request.checkpoints / "previews").glob("*.png"))) == 7


def test_batches_after_it_are_others(request_for, monkeypatch):
    drawn = []
    original = WganGp.update_generator
    monkeypatch.setattr(
        WganGp, "update_generator", lambda self, low, *more: drawn.append(low.clone()) or original(self, low, *more)
    )
    diverge_at(monkeypatch, 4)

    train_bundle(request_for("model"))

    assert not torch.equal(drawn[2], drawn[4])  # iteration 3 of the first and of the second attempt


def test_weights_that_are_no_numbers_are_never_saved(request_for, monkeypatch):
    diverge_at(monkeypatch, 4, with_weights=True)
    request = request_for("model", "training.validate_every=100", "training.log_every=100")

    train_bundle(request)

    for path in request.checkpoints.glob("iteration-*.pt"):
        state = torch.load(path, weights_only=True)["algorithm"]["generator"]
        assert all(torch.isfinite(tensor).all() for tensor in state.values())


def test_a_state_between_two_looks_at_the_log_is_judged_before_it_is_saved(request_for, monkeypatch):
    diverge_at(monkeypatch, 4)
    request = request_for("model", "training.validate_every=100", "training.log_every=100")

    assert train_bundle(request)["training"]["rollbacks"] == 1


def test_an_exploding_critic_counts_as_diverged(request_for, monkeypatch, capsys):
    original, calls = WganGp.divergence, []

    def divergence(self, scalars):
        calls.append(1)
        return original(self, {**scalars, "wasserstein": 1e9} if len(calls) == 3 else scalars)

    monkeypatch.setattr(WganGp, "divergence", divergence)

    assert train_bundle(request_for("model"))["training"]["rollbacks"] == 1
    assert "the critic reports a Wasserstein distance of 1e+09 at iteration 3" in capsys.readouterr().err


def test_it_ends_after_three_times_and_keeps_the_last_good_state(request_for, monkeypatch):
    diverge_at(monkeypatch, *range(4, 100))
    request = request_for("model")

    with pytest.raises(InputError, match="loss_critic is nan at iteration 3: the training diverged for the 4th time"):
        train_bundle(request)

    kept = sorted(request.checkpoints.glob("iteration-*.pt"))
    assert torch.load(kept[-1], weights_only=True)["progress"]["iteration"] == 2
    assert not request.out.exists()


def test_a_run_killed_after_going_back_ends_the_same(request_for, monkeypatch):
    """The kill comes before the next checkpoint, so that the resumed run has to diverge and go back once more."""
    whole, broken = request_for("whole"), request_for("broken")
    diverge_when_patches_are_those_of_the_first_attempt(monkeypatch)
    train_bundle(whole)

    def stop(loop, asked):
        if loop.progress.rollbacks and loop.progress.iteration == 3:
            raise StoppedEarly("killed")

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_stop_if_asked", stop)
        with pytest.raises(StoppedEarly):
            train_bundle(broken)
    train_bundle(replace(broken, resume=True))

    assert (whole.out / "model.safetensors").read_bytes() == (broken.out / "model.safetensors").read_bytes()


def diverge_when_patches_are_those_of_the_first_attempt(monkeypatch) -> None:
    """Diverge at the fourth step by what the step is given, as a real divergence does, not by a count of steps."""
    original = WganGp.update_generator
    bad: list[torch.Tensor] = []
    seen = []

    def update(self, low, *more):
        seen.append(1)
        if len(seen) == 4:
            bad.append(low.clone())
        losses = original(self, low, *more)
        if any(torch.equal(low, one) for one in bad):
            losses["loss_pixel"] = torch.tensor(torch.inf)
        return losses

    monkeypatch.setattr(WganGp, "update_generator", update)

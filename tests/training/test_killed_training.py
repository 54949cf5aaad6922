"""SIGKILL at twenty random moments, also in the middle of writing a checkpoint, and preemption."""

from __future__ import annotations

import csv
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_process import start_training

from ldctpipe.errors import ExitCode
from ldctpipe.training.checkpoints import CheckpointFolder
from ldctpipe.training.run import train_bundle

INTERVAL = 2  # iterations between checkpoints, as the small recipe has it


@pytest.mark.slow
def test_sigkill_at_twenty_moments_loses_one_interval_at_most_and_no_bit(request_for):
    whole, killed = request_for("whole", iterations=50), request_for("killed", iterations=50)
    train_bundle(whole)
    killed = replace(killed, resume=True)
    moments = random.Random(5)
    inside_a_write = 0
    for kill in range(20):
        process = start_training(killed)
        if kill % 2:
            inside_a_write += wait_for_half_written(process, killed.checkpoints)
        else:
            wait_for_new_checkpoint(process, killed.checkpoints)
            time.sleep(moments.uniform(0, 0.4))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        logged = last_logged(killed.checkpoints)
        assert newest_iteration(killed.checkpoints) >= logged - INTERVAL

    process = start_training(killed)
    process.join()

    assert process.exitcode == 0
    assert inside_a_write >= 5
    assert (whole.out / "model.safetensors").read_bytes() == (killed.out / "model.safetensors").read_bytes()
    assert not list(killed.checkpoints.glob(".*partial"))


def wait_for_new_checkpoint(process, folder: Path) -> None:
    before = set(folder.glob("iteration-*.pt"))
    while process.is_alive() and not set(folder.glob("iteration-*.pt")) - before:
        time.sleep(0.01)


def wait_for_half_written(process, folder: Path) -> bool:
    """Wait until a checkpoint after the first of this process is being written; tell whether one was seen."""
    wait_for_new_checkpoint(process, folder)
    while process.is_alive():
        if list(folder.glob(f".iteration-*-{process.pid}-*")):
            return True
        time.sleep(0.001)
    return False


def last_logged(folder: Path) -> int:
    with (folder / "training.csv").open(newline="") as stream:
        return max((int(row["iteration"]) for row in csv.DictReader(stream)), default=0)


def newest_iteration(folder: Path) -> int:
    state = CheckpointFolder(folder).newest()
    return state["progress"]["iteration"] if state else 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_saves_and_ends_with_75(request_for, number):
    request = request_for("model", "training.checkpoint_every=100000", iterations=100000)
    process = start_training(request)
    while process.is_alive() and not (
        (request.checkpoints / "training.csv").exists() and last_logged(request.checkpoints) > 1
    ):
        time.sleep(0.02)

    os.kill(process.pid, number)
    started = time.monotonic()
    process.join(60)

    assert process.exitcode == ExitCode.RESUMABLE
    assert time.monotonic() - started < 60
    assert newest_iteration(request.checkpoints) == last_logged(request.checkpoints)
    assert not request.out.exists()


def test_a_checkpoint_holds_all_randomness(request_for):
    request = request_for("model")
    train_bundle(request)

    (random_state,) = torch.load(sorted(request.checkpoints.glob("iteration-*.pt"))[-1])["randomness"]

    assert set(random_state["sampler"]) == {"positions", "augmentation", "doses"}
    assert set(random_state["algorithm"]) == {"gradient penalty"}


def test_what_a_killed_save_left_goes_when_the_training_goes_on(request_for):
    """Also where no later checkpoint has its name, as after a signal at an odd iteration."""
    request = request_for("model", iterations=200)
    process = start_training(request)
    assert wait_for_half_written(process, request.checkpoints)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (left,) = request.checkpoints.glob(".iteration-*.partial")
    odd = left.rename(left.with_name(left.name.replace("iteration-", "iteration-9")))

    process = start_training(replace(request, resume=True))
    wait_for_new_checkpoint(process, request.checkpoints)
    process.kill()
    process.join()

    assert not odd.exists()

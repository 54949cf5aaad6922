"""The folder of checkpoints: what others put there stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ldctpipe.errors import InputError
from ldctpipe.training.checkpoints import CheckpointFolder


def state_after(iteration: int) -> dict[str, Any]:
    state = dict.fromkeys(("fingerprint", "validated", "algorithm", "randomness"))
    return {**state, "progress": {"iteration": iteration}}


def test_files_of_others_stay_beside_checkpoints(tmp_path: Path) -> None:
    foreign = {"best-model.safetensors", "iteration-last.pt", "iteration-1-of-2.pt", "notes.txt"}
    for name in foreign:
        (tmp_path / name).write_text("mine")
    folder = CheckpointFolder(tmp_path)
    folder.require_empty()

    for iteration in range(1, 5):
        folder.save_best(iteration, torch.nn.Linear(1, 1))
        folder.save(iteration, iteration, state_after(iteration))

    names = {path.name for path in tmp_path.iterdir()}
    assert names - foreign == {
        *(f"iteration-{number:07d}-best-{number:07d}.pt" for number in (3, 4)),
        *(f"best-{number:07d}.safetensors" for number in (3, 4)),
    }
    assert {(tmp_path / name).read_text() for name in foreign} == {"mine"}
    assert folder.newest() == state_after(4)


def test_a_log_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "training.csv").write_text("date,runner\n")

    with pytest.raises(InputError, match=r"training\.csv: is not a file that"):
        CheckpointFolder(tmp_path)


def test_a_place_without_room_for_checkpoints_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match="name another folder with --checkpoints"):
        CheckpointFolder(tmp_path / "file" / "model.checkpoints")

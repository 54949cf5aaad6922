"""The folder of checkpoints: what others put there stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ldctpipe.errors import InputError
from ldctpipe.training.checkpoints import _PARTS, CheckpointFolder


def test_files_of_others_stay_beside_checkpoints(tmp_path: Path) -> None:
    foreign = {"best-model.safetensors", "iteration-last.pt", "iteration-1-of-2.pt", "notes.txt"}
    for name in foreign:
        (tmp_path / name).write_text("mine")
    folder = CheckpointFolder(tmp_path)
    folder.require_empty()

    for iteration in range(1, 5):
        folder.save_best(iteration, torch.nn.Linear(1, 1))
        folder.save(iteration, iteration, {**dict.fromkeys(_PARTS), "iteration": iteration})

    names = {path.name for path in tmp_path.iterdir()}
    assert names - foreign == {
        *(f"iteration-{number:07d}-best-{number:07d}.pt" for number in (3, 4)),
        *(f"best-{number:07d}.safetensors" for number in (3, 4)),
    }
    assert {(tmp_path / name).read_text() for name in foreign} == {"mine"}
    assert (folder.newest() or {})["iteration"] == 4


def test_a_log_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "training.csv").write_text("date,runner\n")

    with pytest.raises(InputError, match=r"training\.csv: is not a file that"):
        CheckpointFolder(tmp_path)


def test_a_place_without_room_for_checkpoints_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match="name another folder with --checkpoints"):
        CheckpointFolder(tmp_path / "file" / "model.checkpoints")

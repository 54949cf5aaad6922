"""Checkpoints from which a training goes on bit for bit, written atomically, the newest few kept."""

from __future__ import annotations

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors.torch import save
from torch import nn

from ldctpipe.errors import InputError
from ldctpipe.files import clear_leftovers_in, new_file, refuse_existing
from ldctpipe.progress import warn
from ldctpipe.training.memory import is_out_of_memory

_KEPT = 2
# The names of a training's own files; other files in the folder are somebody else's.
_CHECKPOINT = re.compile(r"iteration-[0-9]{7,}-best-[0-9]{7,}\.pt")
_BEST = re.compile(r"best-[0-9]{7,}\.safetensors")
_PARTS = {"fingerprint", "progress", "validated", "algorithm", "randomness"}  # what `TrainingLoop` saves


class CheckpointFolder:
    """The checkpoints of one training, each named by its iteration and by that of the best weights until then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fault = f"can't be made for checkpoints ({error.strerror})"
            raise InputError(folder, fault, "name another folder with --checkpoints") from None
        refuse_existing(folder / "training.csv", overwrite=True, starts=[b"iteration"])  # the log of another training

    def clear_leftovers(self) -> None:
        """Remove what killed trainings had half written."""
        clear_leftovers_in(self.folder)

    def save(self, iteration: int, best_iteration: int, state: dict[str, Any]) -> Path:
        """Write the state after `iteration` iterations; drop the oldest checkpoints and the weights only they need."""
        path = self.folder / f"iteration-{iteration:07d}-best-{best_iteration:07d}.pt"
        with new_file(path) as temporary, temporary.open("wb") as stream:
            _torch_save(state, stream)
        for old in self._paths()[:-_KEPT]:
            old.unlink()
        needed = {self._best_path(int(kept.stem.rpartition("-")[2])) for kept in self._paths()}
        for weights in self.folder.iterdir():
            if _BEST.fullmatch(weights.name) and weights not in needed:
                weights.unlink()
        return path

    def load(self, fabric: Fabric) -> dict[str, Any] | None:
        """Return the same state on all ranks: what `newest` finds on the first one, which sets damaged ones aside.

        Raises `InputError` where another rank doesn't see that file: the folder has to be one that all ranks share.
        """
        state = self.newest() if fabric.is_global_zero else None
        name = fabric.broadcast(self._paths()[-1].name if state else None)
        if name is None or fabric.is_global_zero:
            return state
        path = self.folder / name
        if not path.is_file():
            raise InputError(path, "is not seen by all ranks", "name a --checkpoints folder that all nodes share")
        try:
            return _state_in(path)
        except (ValueError, RuntimeError, UnpicklingError) as error:
            if is_out_of_memory(error):
                raise
            raise InputError(path, "is read in full by the first rank only", "check the shared folder") from None

    def newest(self) -> dict[str, Any] | None:
        """Return the newest state, or None where no checkpoint is; a damaged one is named, set aside and passed over.

        Raises `InputError` when there are checkpoints and none can be read.
        """
        for path in reversed(self._paths()):
            try:
                return _state_in(path)
            except (OSError, MemoryError):
                raise
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                warn(f"{path} can't be read ({type(error).__name__}); taking the one before it")
                path.rename(path.with_suffix(".damaged"))  # or it would count as the newest that is kept
        if list(self.folder.glob("*.damaged")):
            raise InputError(self.folder, "holds only damaged checkpoints", "start afresh in another folder")
        return None

    def best(self, iteration: int) -> Path:
        """Return the file of the best weights, reached at `iteration`; raises `InputError` when it is gone."""
        if not self._best_path(iteration).is_file():
            raise InputError(self._best_path(iteration), "is missing, though a checkpoint needs it", "train afresh")
        return self._best_path(iteration)

    def save_best(self, iteration: int, network: nn.Module) -> None:
        """Write a network's weights as the best so far; the next checkpoint drops those that it replaces."""
        write_weights(self._best_path(iteration), network.state_dict())

    def _best_path(self, iteration: int) -> Path:
        return self.folder / f"best-{iteration:07d}.safetensors"

    def require_empty(self) -> None:
        """Raise `InputError` where checkpoints of an earlier training lie that would be lost."""
        if self._paths():
            raise InputError(
                self.folder, "holds checkpoints of a training", "add --resume to go on, or name another folder"
            )

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if _CHECKPOINT.fullmatch(path.name) and path.is_file())


def _state_in(path: Path) -> dict[str, Any]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not state.keys() >= _PARTS:
        raise ValueError("is not the state of a training")
    progress = state["progress"]
    if not isinstance(progress, dict) or not isinstance(progress.get("iteration"), int):
        raise ValueError("has no number of iterations")
    return state


def write_weights(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Write a network's tensors as safetensors, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with new_file(path) as temporary:
        temporary.write_bytes(save(tensors))  # safetensors' own writer hides a full disk behind its own error


def _torch_save(state: dict[str, Any], stream: Any) -> None:
    try:
        torch.save(state, stream)
    except RuntimeError as error:  # torch hides the failed write behind its own error
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise

"""Checkpoints from which a training goes on bit for bit, written atomically, the newest few kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from ldctpipe.errors import InputError
from ldctpipe.files import new_file
from ldctpipe.progress import warn

_KEPT = 2


class CheckpointFolder:
    """The checkpoints of one training: `iteration-NNNNNNN.pt`, and the best weights by iteration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, iteration: int, state: dict[str, Any]) -> Path:
        """Write the state after `iteration` iterations and drop the oldest checkpoints."""
        path = self.folder / f"iteration-{iteration:07d}.pt"
        with new_file(path) as temporary, temporary.open("wb") as stream:
            _torch_save(state, stream)
        for old in self._paths()[:-_KEPT]:
            old.unlink()
        return path

    def newest(self) -> dict[str, Any] | None:
        """Return the newest state that can be read, or None; a damaged one is named and passed over."""
        for path in reversed(self._paths()):
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # noqa: BLE001 - torch raises many kinds for a damaged file
                warn(f"{path} can't be read ({type(error).__name__}); taking the one before it")
        return None

    def best_path(self, iteration: int) -> Path:
        """Return where the best weights, reached at `iteration`, are kept."""
        return self.folder / f"best-{iteration:07d}.safetensors"

    def save_best(self, iteration: int, network: nn.Module) -> None:
        """Write a network's weights as the best so far; older ones stay while a kept checkpoint may refer to them."""
        save_weights(self.best_path(iteration), network)
        for old in sorted(self.folder.glob("best-*.safetensors"))[: -_KEPT - 1]:
            old.unlink()

    def require_empty(self) -> None:
        """Raise `InputError` where checkpoints of an earlier training lie that would be lost."""
        if self._paths():
            raise InputError(
                self.folder, "holds checkpoints of a training", "add --resume to go on, or name another folder"
            )

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("iteration-*.pt"))


def save_weights(path: Path, network: nn.Module) -> None:
    """Write a network's weights to a .safetensors file atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with new_file(path) as temporary:
        save_file(tensors, temporary)


def _torch_save(state: dict[str, Any], stream: Any) -> None:
    try:
        torch.save(state, stream)
    except RuntimeError as error:  # torch hides the failed write behind its own error
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise

"""Files of tensors that somebody else may have written: nothing in them is executed, and damage is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ldctpipe.errors import InputError
from ldctpipe.foreign import open_file, require_file

_LARGEST_HEADER_BYTES = 100 << 20  # what safetensors itself allows


def read_safetensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file.

    Raises `InputError` with `remedy` for an invalid file: cut short, or with a header that contradicts the file.
    """
    require_file(path)
    try:
        return load_file(path)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(path, f"is not a safetensors file ({' '.join(str(error).split())})", remedy) from None


def shapes_of(path: Path, remedy: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a .safetensors file, from its header alone; raises as `read_safetensors`."""
    try:
        with open_file(path) as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: Any = json.loads(stream.read(length)) if length <= _LARGEST_HEADER_BYTES else None
            header.pop("__metadata__", None)
            return {str(name): tuple(map(int, entry["shape"])) for name, entry in header.items()}
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
        raise InputError(path, "is not a safetensors file (its header can't be read)", remedy) from None


def read_tensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors, .pth or .pt file, by name.

    Raises `InputError` with `remedy` for a file that holds anything else.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path, remedy)
    require_file(path)
    state: Any
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - torch's unpickler fails in any way there is on foreign bytes
        fault = f"holds no weights that can be read ({type(error).__name__})"
        raise InputError(path, fault, remedy) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise InputError(path, "does not hold named tensors", remedy)
    return state


def require_numbers(path: Path, tensors: dict[str, Tensor], remedy: str) -> None:
    """Raise `InputError` where a tensor holds NaN or infinity: a network with it gives nothing."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(path, f"holds NaN or infinite values in {name}", remedy)

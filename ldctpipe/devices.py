"""Where tensors live: the one reading of `--device` and `--threads`."""

from __future__ import annotations

import torch

from ldctpipe.errors import UsageError


def pick_device(name: str, threads: int | None = None) -> torch.device:
    """Return the device for "auto", "cpu", "cuda" or "mps", and set the number of CPU threads where one is given.

    "auto" takes CUDA, then MPS, then the CPU. Raises `UsageError` where the named device can't be used.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        name = next(kind for kind, usable in available.items() if usable)
    if not available[name]:
        remedy = "take --device auto or --device cpu"
        raise UsageError(None, f"--device {name}: no such device can be used here", remedy)
    return torch.device(name)

"""Where tensors live and how many cores work: the one reading of `--device` and `--threads`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ldctpipe.errors import UsageError

if TYPE_CHECKING:
    import torch

# How threads of one operation wait for each other: without using their core, which may have other work to do. OpenMP
# reads this once, when the computing library is loaded.
THREADS_WAIT = {"OMP_WAIT_POLICY": "passive"}

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def let_threads_wait() -> None:
    """Let threads sleep while they wait for each other, unless the environment sets this; call before importing torch.

    By default they spin. On busy cores, each barrier then lasts until the scheduler returns to a thread that lost its
    core, while the others spin on theirs: a training takes many times as long instead of twice.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        for name, value in THREADS_WAIT.items():
            os.environ.setdefault(name, value)


def usable_cores() -> int:
    """Return how many CPU cores this process may use: by its affinity, and by the CPU time that its cgroup allows.

    The latter is how containers and schedulers limit a process that sees all cores of the machine (cgroup v2, cpu.max).
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _quotas())]))


def _quotas() -> Iterator[float]:
    """Cores that the cgroup of this process, and each around it, is limited to."""
    with suppress(OSError):
        lines = _OWN_CGROUP.read_text(encoding="utf-8").splitlines()
        own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
        for folder in (_CGROUPS / own, *(_CGROUPS / own).parents):
            with suppress(OSError, ValueError):  # "max" has no number
                quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
                yield int(quota) / int(period)


def pick_device(name: str, threads: int | None = None) -> torch.device:
    """Return the device for "auto", "cpu", "cuda" or "mps", and set the number of CPU threads.

    Without `threads` it is what torch chose, but no more than this process may use. "auto" takes CUDA, then MPS, then
    the CPU. Raises `UsageError` where the named device can't be used.
    """
    import torch  # reading headers counts cores, too, and takes less time than this import

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    torch.set_num_threads(threads or min(torch.get_num_threads(), usable_cores()))
    if name == "auto":
        name = next(kind for kind, usable in available.items() if usable)
    if not available[name]:
        remedy = "take --device auto or --device cpu"
        raise UsageError(None, f"--device {name}: no such device can be used here", remedy)
    return torch.device(name)

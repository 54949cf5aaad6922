"""What the ranks of one training tell each other; with one rank, nothing is sent."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed
from lightning_fabric import Fabric
from torch import Tensor

from ldctpipe.errors import ExitCode

_AGREE_EVERY = 10  # iterations: asking the others stops the device until they answer
_PATIENCE_S = 10.0  # for the rank that failed to end
_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Connection refused")  # gloo's words


def gather_objects(fabric: Fabric, own: Any) -> list[Any]:
    """Return what each rank gives, in the order of ranks."""
    if fabric.world_size == 1:
        return [own]
    all_of_them: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(all_of_them, own)
    return all_of_them


def mean_over_ranks(fabric: Fabric, scalars: dict[str, Tensor]) -> dict[str, float]:
    """Return the scalars' means over ranks as numbers; waits for the device once."""
    values = torch.stack([value.detach().float() for value in scalars.values()])
    return dict(zip(scalars, fabric.all_reduce(values).tolist(), strict=True))  # type: ignore[union-attr]


def agreed(fabric: Fabric, asked: str | None, iteration: int) -> str | None:
    """Return `asked` of any rank, the same on all; several ranks with GPUs ask each other every ten iterations."""
    if fabric.world_size == 1:
        return asked
    if fabric.device.type != "cpu" and iteration % _AGREE_EVERY:
        return None
    return next((one for one in gather_objects(fabric, asked) if one), None)


@contextmanager
def failing_together(fabric: Fabric) -> Iterator[None]:
    """End all ranks of this node when one of them fails, with the words and the exit code of the one that did.

    The others only notice that it no longer answers. What they say of that is no news, so they say nothing; the first
    rank, whose exit code is that of the command, takes the code of the rank that it had started and that failed.
    """
    try:
        yield
    except (RuntimeError, torch.distributed.DistError) as error:
        if fabric.world_size == 1 or not _is_about_the_others(error):
            _end(_started(fabric))
            raise
        raise SystemExit(_code_of_failed(_started(fabric)) or ExitCode.IO) from None
    except BaseException:
        _end(_started(fabric))
        raise


def _started(fabric: Fabric) -> list[subprocess.Popen[bytes]]:
    return getattr(fabric.strategy.launcher, "procs", [])


def _is_about_the_others(error: Exception) -> bool:
    return isinstance(error, torch.distributed.DistError) or any(words in str(error) for words in _GONE)


def _code_of_failed(processes: list[subprocess.Popen[bytes]]) -> int | None:
    """Return the exit code of the first process that failed, once it has ended; the others are ended."""
    deadline = time.monotonic() + _PATIENCE_S
    while processes and time.monotonic() < deadline:
        codes = [process.poll() for process in processes]
        if failed := next((code for code in codes if code), None):
            _end(processes)
            return failed if failed > 0 else 128 - failed
        time.sleep(0.1)
    _end(processes)
    return None


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()


def leave(fabric: Fabric) -> None:
    """Wait for the others and end the group; afterwards no rank can speak to another."""
    if fabric.world_size > 1 and torch.distributed.is_initialized():
        fabric.barrier()
        torch.distributed.destroy_process_group()

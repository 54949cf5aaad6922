"""Trainings in processes of their own, which tests kill; the libraries are loaded once for all of them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

from ldctpipe.training.run import TrainingRequest

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["ldctpipe.training.run", "torch.utils.tensorboard"])


def start_function(function: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Return the process that runs `function(*arguments)`."""
    process = _CONTEXT.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def start_training(request: TrainingRequest) -> ForkServerProcess:
    """Return the process that trains what `request` says; its exit code is that of the command."""
    return start_function(_train, request)


def start_rank(function: Callable[..., None], rank: int, port: int, *arguments: Any) -> ForkServerProcess:
    """Return the process that runs `function(*arguments)` as one of two ranks that meet at `port`."""
    return start_function(_as_rank, function, rank, port, *arguments)


def _train(request: TrainingRequest) -> None:
    import torch

    from ldctpipe.errors import StoppedEarly
    from ldctpipe.progress import set_quiet
    from ldctpipe.training.run import train_bundle

    torch.set_num_threads(1)
    set_quiet(True)
    try:
        train_bundle(request)
    except StoppedEarly as stopped:
        raise SystemExit(stopped.exit_code) from None


def _as_rank(function: Callable[..., None], rank: int, port: int, *arguments: Any) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0",
        "WORLD_SIZE": "2",
    }  # fmt: skip
    function(*arguments)

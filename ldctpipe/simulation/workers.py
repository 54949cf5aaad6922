"""Slices in parallel, with results that do not depend on how many there are at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from ldctpipe.devices import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_WORKERS = 16  # each holds some 60 MB at 512 × 512


def worker_count(threads: int | None) -> int:
    """Return how many slices to work on at a time: `threads`, or what this process may use."""
    return min(threads or usable_cores(), _MOST_WORKERS)


def each_slice(work: Callable[[Item], Result], items: Iterable[Item], threads: int | None) -> Iterator[Result]:
    """Yield `work` of each item in their order, made by several threads.

    No more than two results for each thread wait to be taken, so that memory does not grow with the number of items.
    """
    workers = worker_count(threads)
    waiting: deque[Future[Result]] = deque()
    with _one_thread_an_operation(), ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def _one_thread_an_operation() -> Iterator[None]:
    """Keep torch from splitting one operation over threads: where it splits changes the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

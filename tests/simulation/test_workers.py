"""Work on slices by many threads: bounded memory, and torch left as it was."""

from __future__ import annotations

import threading

import torch

from ldctpipe.simulation.workers import each_slice


def test_memory_does_not_grow_with_the_number_of_slices() -> None:
    taken, ahead, lock = [0], [], threading.Lock()

    def work(index: int) -> int:
        with lock:
            ahead.append(index - taken[0])
        return index

    for index in each_slice(work, range(300), threads=3):
        with lock:
            taken[0] = index

    assert max(ahead) <= 6


def test_the_number_of_threads_of_torch_is_as_before() -> None:
    before = torch.get_num_threads()

    assert list(each_slice(str, range(3), 2)) == ["0", "1", "2"]

    assert torch.get_num_threads() == before

"""Signals that ask a training to save and stop: Ctrl-C, the scheduler's warning before a time limit, preemption."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ldctpipe.errors import StoppedEarly

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Interruption:
    """Remembers the first signal that came, until the loop is at a point where it can save."""

    name: str | None = None

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal; a second Ctrl-C does not wait for the loop."""
        if self.name and number == signal.SIGINT:
            raise StoppedEarly("interrupted twice: what the last checkpoint holds is kept; --resume goes on there.")
        self.name = signal.Signals(number).name


@contextmanager
def watch_signals() -> Iterator[Interruption]:
    """Yield an `Interruption` that receives this process's signals while the block runs."""
    interruption = Interruption()
    former = {number: signal.signal(number, interruption.receive) for number in _SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)

"""Items made ahead of their use in a background thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class _Failure:
    error: BaseException


class Prefetcher(Generic[Item]):
    """Calls `make` again and again in a thread that keeps up to `ahead` results ready; with 0, when one is taken.

    The thread starts with the first `take` and ends with `close` or the process, whichever comes first.
    """

    def __init__(self, make: Callable[[], Item], ahead: int) -> None:
        self._make, self._ahead = make, ahead
        self._ready: deque[Item | _Failure] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def take(self) -> Item:
        """Return the next result, in the order in which they were made; raises what `make` raised in its place."""
        if not self._ahead:
            return self._make()
        self._start()
        with self._changed:
            self._changed.wait_for(lambda: self._ready)
            item = self._ready.popleft()
            self._changed.notify_all()
        if isinstance(item, _Failure):
            self.close()
            raise item.error
        return item

    def close(self) -> None:
        """End the thread and drop what it made ahead; a later `take` starts anew."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread and self._thread is not threading.current_thread():  # which collects garbage, too
            self._thread.join()
        self._thread = None
        self._ready.clear()

    def _start(self) -> None:
        if self._thread is None:
            self._closing = False
            self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while self._has_room():
            try:
                item: Item | _Failure = self._make()
            except BaseException as error:  # noqa: BLE001 - `take` raises it, whatever it is
                item = _Failure(error)
            with self._changed:
                self._ready.append(item)
                self._changed.notify_all()
            if isinstance(item, _Failure):
                return

    def _has_room(self) -> bool:
        """Wait until a result is wanted; False when none is wanted any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or len(self._ready) < self._ahead)
            return not self._closing

"""Progress with rate and time left: a bar on a terminal, plain lines in a log.

Everything goes to stderr, so that stdout holds results only. A stderr that can't be written to any more (its reader
left, the log's disk is full) ends the messages and never the work.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TextIO, TypeVar

Item = TypeVar("Item")

_quiet = False
_LINE_EVERY_S = 10.0
_REDRAW_EVERY_S = 0.2
_BAR_WIDTH = 24
_CLEAR_LINE = "\r\033[K"


def set_quiet(quiet: bool) -> None:
    """Switch progress and messages of this process off (`--quiet`) or on."""
    global _quiet  # noqa: PLW0603 - the one switch of the process's stderr, set once by the command line
    _quiet = quiet


def say(message: str) -> None:
    """Print one line for a person on stderr, unless quiet."""
    if not _quiet:
        tell(one_line(message))


def warn(message: str) -> None:
    """Print one warning on stderr, also when quiet."""
    tell(f"warning: {one_line(message)}")


def one_line(text: str) -> str:
    """Return `text` with line breaks, terminal codes and bytes that are no text escaped: file names can hold them."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def tell(text: str, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print `text` on `stream` (stderr), also when quiet; what can't be printed is dropped."""
    stream = stream or sys.stderr
    if stream is None:  # the process was started with stderr closed
        return
    # The line may show a bar, of this process or of another on the same terminal: it is drawn again in a moment.
    cleared = _CLEAR_LINE if _is_terminal(stream) else ""
    try:
        print(f"{cleared}{text}", end=end, file=stream, flush=True)
    except OSError:
        discard(stream)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def discard(stream: TextIO) -> None:
    """Point `stream` at nothing, so that neither later lines nor the flush at exit fail once it can't be written to."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # no file of the system
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


class Progress:
    """Counts finished units of a step of known length and shows them now and then."""

    def __init__(
        self, title: str, total: int, unit: str = "items", *, done: int = 0, stream: TextIO | None = None
    ) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self._first = done, done
        self._stream = stream or sys.stderr
        self._on_terminal = _is_terminal(self._stream)
        self._started = time.monotonic()
        self._shown = self._started

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count `units` as finished; `note` is shown behind the numbers."""
        self.done += units
        now = time.monotonic()
        interval = _REDRAW_EVERY_S if self._on_terminal else _LINE_EVERY_S
        if now - self._shown >= interval:
            self._shown = now
            self._show(note, end="")

    def finish(self, note: str = "") -> None:
        """Show the last state with the time that it took."""
        self._show(note, end="\n")

    def line(self, note: str = "") -> str:
        """Return the current state as text: count, rate, and time left or taken."""
        elapsed_s = time.monotonic() - self._started
        rate = (self.done - self._first) / elapsed_s if elapsed_s > 0 else 0.0
        if self.done >= self.total:
            when = f"in {duration(elapsed_s)}"
        else:
            when = f"{duration((self.total - self.done) / rate)} left" if rate > 0 else "time left unknown"
        speed = f"{_speed(rate, self.unit)}, " if rate > 0 else ""
        text = f"{self.title}: {self.done}/{self.total} {self.unit}, {speed}{when}"
        return f"{text}  {note}" if note else text

    def _show(self, note: str, end: str) -> None:
        if _quiet:
            return
        if not self._on_terminal:
            tell(self.line(note), self._stream)
            return
        filled = round(_BAR_WIDTH * self.done / self.total) if self.total else _BAR_WIDTH
        bar = "━" * filled + "╌" * (_BAR_WIDTH - filled)
        tell(self._fitting(f"{bar} {self.line(note)}"), self._stream, end)

    def _fitting(self, text: str) -> str:
        """As much of the line as the terminal has room for: what wraps could not be cleared."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError, AttributeError):  # no terminal of the system
            return text
        return text[: columns - 1] if columns else text


def track(items: Iterable[Item], title: str, unit: str = "items", total: int | None = None) -> Iterator[Item]:
    """Yield from `items` and show how far it is; `total` is needed where `items` has no length."""
    length = total if total is not None else len(items) if isinstance(items, Sized) else 0
    progress = Progress(title, length, unit)
    for item in items:
        yield item
        progress.advance()
    progress.finish()


def _speed(rate: float, unit: str) -> str:
    """How many units a second, or how many seconds a unit where that is more."""
    if rate < 1:
        return f"{1 / rate:.3g} s/{unit if unit == 'series' else unit.removesuffix('s')}"
    return f"{rate:.0f}/s" if rate >= 100 else f"{rate:.3g}/s"


def duration(seconds: float) -> str:
    """Return a time for people: "8 s", "3 min 05 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

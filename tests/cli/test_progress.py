"""What a person sees of a run: a bar that nothing sticks to, and rates that can be read."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from ldctpipe import progress
from ldctpipe.progress import Progress, say, warn


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    def shown(self) -> list[str]:
        """Return the lines that a person sees: a return goes to the start of a line, ESC [K clears it from there."""
        lines = []
        for line in self.getvalue().split("\n"):
            seen = ""
            for part in line.split("\r"):
                seen = part.removeprefix("\033[K") if part.startswith("\033[K") else part + seen[len(part) :]
            lines.append(seen)
        return lines


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    stream = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))  # pytest has its own way with the real one
    monkeypatch.setattr(progress, "_REDRAW_EVERY_S", 0.0)
    return stream


@pytest.mark.parametrize(("tell", "shown"), [(warn, "warning: look here"), (say, "look here")])
def test_a_message_amid_a_bar_has_a_line_of_its_own(terminal: Terminal, tell, shown: str) -> None:
    bar = Progress("denoising", 3, "slices")
    bar.advance()
    tell("look here")
    bar.advance()
    tell("look here")
    tell("look here")
    bar.advance()
    bar.finish()

    *lines, last, end = terminal.shown()
    assert lines == [shown] * 3
    assert "3/3 slices" in last
    assert end == ""


def test_a_message_of_another_process_clears_the_bar_on_the_terminal_too(terminal: Terminal) -> None:
    terminal.write("━━━━━╌╌╌╌ training: 5/9 iterations")  # what another process has drawn

    warn("look here")

    assert terminal.shown() == ["warning: look here", ""]


def test_a_failure_amid_a_bar_has_a_line_of_its_own(terminal: Terminal) -> None:
    from ldctpipe.cli.app import run

    Progress("denoising", 3, "slices").advance()

    run(["denois"])

    (line, end) = terminal.shown()
    assert line.startswith("ldctpipe: No such command")
    assert end == ""


def test_a_log_holds_no_codes_of_a_terminal(capsys) -> None:
    Progress("denoising", 1, "slices").finish()
    warn("look here")

    said = capsys.readouterr().err
    assert "\r" not in said
    assert "\033" not in said


@pytest.mark.parametrize(
    ("unit", "seconds", "done", "speed"),
    [
        ("slices", 10.0, 4, "2.5 s/slice,"),
        ("slices", 10.0, 40, "4/s,"),
        ("series", 30.0, 2, "15 s/series,"),
        ("iterations", 10.0, 12345, " 1234/s,"),
        ("slices", 10.0, 0, "0/20000 slices, time left unknown"),
    ],
)
def test_slow_rates_are_told_in_seconds(monkeypatch, unit: str, seconds: float, done: int, speed: str) -> None:
    now = iter([100.0, *[100.0 + seconds] * 9])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    bar = Progress("work", 20000, unit)
    bar.done = done

    assert speed in bar.line()

"""The exit codes of every command, and the one exception for faults that the user can mend."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What a finished process tells its caller (numbers from BSD sysexits.h where one fits)."""

    DONE = 0
    USAGE = 2
    INPUT = 65
    UNAVAILABLE = 69
    BUG = 70
    IO = 74
    RESUMABLE = 75


class InputError(Exception):
    """The input is at fault: says which file, what is wrong with it and what to do, in one sentence.

    `fault` and `remedy` are clauses without a final full stop: "holds no CT slice", "give a folder with CT images".
    """

    exit_code = ExitCode.INPUT

    def __init__(self, path: Path | str | None, fault: str, remedy: str) -> None:
        self.path, self.fault, self.remedy = path, fault, remedy
        super().__init__(f"{path}: {fault}; {remedy}." if path is not None else f"{fault}; {remedy}.")


class UsageError(InputError):
    """An argument, option or recipe value is at fault."""

    exit_code = ExitCode.USAGE


class StoppedEarly(BaseException):
    """Work was saved before its end and goes on when the same command runs again.

    No `Exception`, like `KeyboardInterrupt`: a signal can come inside any `try`, whose `except Exception` is meant for
    damaged files and must not take it for one.
    """

    exit_code = ExitCode.RESUMABLE

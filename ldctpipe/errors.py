"""The exit codes of every command, and the one exception for faults that the user can mend."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

# Errors that last until somebody changes the path itself. All other errors of a file can be over in a minute:
# permissions, an unavailable network file system, a failing disk, too many open files.
_LASTING = {errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.EINVAL}
READ_REMEDY = "check that it is still there, its permissions and its disk, and run the same command again"


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


class ReadError(InputError):
    """A file can't be read now, which says nothing about its content: the same command may succeed later."""

    exit_code = ExitCode.IO


def is_transient(error: OSError) -> bool:
    """Tell whether a failure to read may be over at the next try; a library's error about a format is none."""
    known = isinstance(error, (FileNotFoundError, PermissionError, TimeoutError, ConnectionError))
    return known if error.errno is None else error.errno not in _LASTING


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn system errors in reading `path` into `ReadError`, or into `InputError` if they won't change."""
    try:
        yield
    except OSError as error:
        where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else path
        kind = ReadError if is_transient(error) else InputError
        raise kind(where, f"can't be read ({error.strerror or error})", READ_REMEDY) from None


class StoppedEarly(BaseException):
    """Work was saved before its end and goes on when the same command runs again.

    No `Exception`, like `KeyboardInterrupt`: a signal can come inside any `try`, whose `except Exception` is meant for
    damaged files and must not take it for one.
    """

    exit_code = ExitCode.RESUMABLE

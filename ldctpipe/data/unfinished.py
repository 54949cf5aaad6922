"""What is done of a long step, kept beside its output, so that the same command goes on after a kill.

It lies in a hidden folder of a fixed name, `.STORE.unfinished`, in which one process at a time works. The system takes
a process's lock away however it ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ldctpipe.errors import InputError
from ldctpipe.files import errors_that_name, place_folder, refuse_occupied, resolved
from ldctpipe.progress import say, warn

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class Unfinished:
    """Two folders: `result` becomes the output, and `parts` tells what of it is done."""

    result: Path
    parts: Path


@contextmanager
def unfinished_folder(target: Path, *, overwrite: bool = False, inputs: Sequence[Path] = ()) -> Iterator[Unfinished]:
    """Yield the folders in which `target` is made, with what an earlier process left there.

    When the block ends well, `result` becomes `target` and the rest vanishes; when it fails, all is kept if `parts`
    holds something. Raises what `refuse_occupied` raises, and `InputError` while another process makes `target`. An
    `OSError` of a full disk names `target`.
    """
    refuse_occupied(target, overwrite=overwrite, inputs=inputs)
    place = resolved(target)
    place.parent.mkdir(parents=True, exist_ok=True)
    folder = _folder_for(place)
    work = Unfinished(folder / "result", folder / "parts")
    with errors_that_name(target, folder), _only_process_in(folder, target):
        try:
            refuse_occupied(target, overwrite=overwrite, inputs=inputs)  # another process may just have made it
            if not work.result.is_dir():
                _remove(work)  # a kill after the result was in place leaves notes about files that have moved
            work.result.mkdir(exist_ok=True)
            work.parts.mkdir(exist_ok=True)
            yield work
            place_folder(work.result, place)
            _remove(work)
        finally:
            if not work.parts.is_dir() or not any(work.parts.iterdir()):
                _remove(work)
            else:
                say(f"what is done is kept in {folder.name}, from which the same command goes on")


def _folder_for(target: Path) -> Path:
    """Return the folder for unfinished work on `target`: beside it, or in it if it exists and may be a mount point."""
    beside = target.with_name(f".{target.name}.unfinished")
    return target / ".ldctpipe.unfinished" if target.is_dir() and not beside.is_dir() else beside


def _remove(work: Unfinished) -> None:
    # The parts first: without them, nothing of a result that is left can be taken for done.
    shutil.rmtree(work.parts, ignore_errors=True)
    shutil.rmtree(work.result, ignore_errors=True)


@contextmanager
def _only_process_in(folder: Path, target: Path) -> Iterator[None]:
    lock = folder / "lock"
    descriptor = _locked(lock, target)
    try:
        yield
    finally:
        if [entry.name for entry in folder.iterdir()] == [lock.name]:
            lock.unlink()
            with suppress(OSError):  # another process may already have put its own lock there
                folder.rmdir()
        os.close(descriptor)


def _locked(lock: Path, target: Path) -> int:
    """Return an open descriptor that holds the lock; raises `InputError` where another process has it."""
    while True:
        lock.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # the folder went between these lines, with the process that had it
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
            _lock(descriptor, target)
            if _is_still(lock, descriptor):
                return descriptor
            os.close(descriptor)


def _lock(descriptor: int, target: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        remedy = "wait until that is done, or name another output folder"
        raise InputError(target, "is being made by another process", remedy) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warn(f"{target}: this file system has no locks; do not run a second command for the same folder")


def _is_still(lock: Path, descriptor: int) -> bool:
    """Tell whether the locked file is the one that others would open, and not one that was removed meanwhile."""
    with suppress(FileNotFoundError):
        return os.path.samestat(lock.stat(), os.fstat(descriptor))
    return False

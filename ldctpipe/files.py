"""Outputs that appear whole or not at all, and checksums.

Every step writes to a temporary name beside or inside its target and renames at the end, so that a kill or a full disk
leaves either the old state or the new one. The temporary name has the writer's process number in it, so that the
next start can tell what a killed process left from what a living one is writing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from ldctpipe.errors import InputError, UsageError
from ldctpipe.foreign import json_of, read_text
from ldctpipe.merging import Own, listed_files, move_into, prepare_move, rename_file, rename_folder, write_listing

_CHUNK_BYTES = 1 << 20
_NAME_CHARACTERS = 100
_NAME_BYTES = 180  # of 255, so that a temporary name has room for its mark
_NAMED = 3
_START_BYTES = 256
_INSIDE = "ldctpipe"  # what temporary folders inside their target are called
_DEEPEST_FOLDER = 100
_DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# How libraries tell of a full disk where they leave the error number out: the system's words, and numpy's own.
_FULL_IN_WORDS = re.compile(re.escape(os.strerror(errno.ENOSPC)) + r"|\d+ requested and \d+ written")


@contextmanager
def new_folder(
    target: Path,
    *,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
    own: Callable[[Path], Own] | None = None,
    withdraw: bool = True,
) -> Iterator[Path]:
    """Yield a temporary folder that becomes `target` when the block ends well and vanishes when it fails.

    If `target` exists, the files move into it: they replace files that ldctpipe wrote earlier, and all others stay.
    Files of ldctpipe are those in the listing that every new folder gets, or those that `own` returns for `target`.
    With `withdraw`, the descriptions of earlier files go first, so that a kill in between leaves none of them untrue.
    Raises what `refuse_occupied` raises. An `OSError` of a full disk names `target`, whatever library it came from.
    """
    refuse_occupied(target, overwrite=overwrite, inputs=inputs, own=own)
    place = resolved(target)
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_for(place)
    with errors_that_name(target, temporary):
        try:
            temporary.mkdir()
            yield temporary
            place_folder(temporary, place, own, withdraw=withdraw)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def refuse_occupied(
    target: Path,
    *,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
    own: Callable[[Path], Own] | None = None,
) -> None:
    """Raise when an output folder can't be written to `target` without losing what is there.

    `UsageError` when `target` is or contains one of `inputs`. `InputError` when it is a file, or a folder that holds
    something: without `overwrite` anything, with it anything if neither listing nor `own` names files of
    ldctpipe. Leftovers of a killed process at `target` are cleared away first.
    """
    place = resolved(target)
    for source in map(resolved, inputs):
        if source == place:
            raise UsageError(target, f"the output folder would replace the input {source}", "name another folder")
        if source.is_relative_to(place):
            raise UsageError(target, f"the output folder holds the input {source}", "name another folder")
    clear_leftovers(place)
    if place.exists() and not place.is_dir():
        raise InputError(target, "is a file where an output folder should go", "name another output folder")
    entries = entries_in(place)
    if not entries:
        return
    is_ours = bool((own or listed_files)(place))
    if not overwrite:  # which would help in a folder of ours only
        remedy = "name another one or add --overwrite" if is_ours else "name another one"
        raise InputError(target, f"the output folder already holds files ({_some(entries)})", remedy)
    if not is_ours:
        fault = f"holds files that ldctpipe didn't write or no longer knows ({_some(entries)})"
        raise InputError(target, fault, "name another output folder or empty this one yourself")


def entries_in(folder: Path) -> list[str]:
    """Return the names of the entries of `folder`, which may be missing, without temporary folders of commands."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(f".{_INSIDE}."))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED}" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + (f"{more} more" if more else "")


def resolved(path: Path) -> Path:
    """Return `path` without links; raises `OSError` for links that lead in a circle."""
    try:
        return path.resolve()
    except RuntimeError:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


def walk(
    folder: Path, on_error: Callable[[OSError], None] | None = None, *, follow_links: bool = False
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield what `os.walk` yields, to a depth beyond all real data, where paths and recursion have an end.

    `on_error` hears of folders that can't be listed or lie deeper, which has an error number that is not transient.
    """
    top = os.fspath(folder).count(os.sep)
    for parent, folders, names in os.walk(folder, onerror=on_error, followlinks=follow_links):
        folders.sort()
        if folders and parent.count(os.sep) - top >= _DEEPEST_FOLDER:
            fault = f"its folder is more than {_DEEPEST_FOLDER} levels deep"
            if on_error:
                on_error(OSError(errno.ENAMETOOLONG, fault, os.path.join(parent, folders[0])))  # noqa: PTH118
            folders.clear()
        yield parent, folders, names


def real_path(path: Path) -> Path:
    """Return `path` without links, to compare it with others; links in a circle stay as they are."""
    return Path(os.path.realpath(path))


def place_folder(
    temporary: Path, target: Path, own: Callable[[Path], Own] | None = None, *, withdraw: bool = True
) -> None:
    """Move the files of `temporary`, which vanishes, into the folder `target`, even if this is interrupted.

    A new folder appears by one rename; into an existing one the files move, as `new_folder` says.
    """
    if own is None:
        write_listing(temporary)
    if not target.is_dir() and _is_renamed(temporary, target):
        return
    prepare_move(temporary, (own or listed_files)(target), withdraw=withdraw)
    ready = target / f".{_INSIDE}.{_mark()}.ready"
    rename_folder(temporary, ready)
    try:
        move_into(ready, target, sha256_of_file)
    except BaseException:  # a signal in between; what can't be moved now is moved at the next start
        with suppress(OSError):
            move_into(ready, target, sha256_of_file)
        raise


def _is_renamed(temporary: Path, target: Path) -> bool:
    """Rename a folder; return False where another process has made `target` meanwhile."""
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True


def _temporary_for(target: Path) -> Path:
    """Return a temporary folder for `target`: in it if it exists, as it may be a mount point, else beside it."""
    if target.is_dir():
        return target / f".{_INSIDE}.{_mark()}.partial"
    return _beside(target, "partial")


def _beside(target: Path, kind: str) -> Path:
    # Not from tempfile, which makes files that the group can't read whatever the umask says.
    return target.with_name(f".{_stem(target)}.{_mark()}.{kind}")


def _stem(target: Path) -> str:
    """Return the name of `target`, or a substitute for a name that leaves no room for more."""
    name = target.name
    return name if len(os.fsencode(name)) <= _NAME_BYTES else hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _mark() -> str:
    return f"{process_mark()}-{secrets.token_hex(4)}"


def process_mark() -> str:
    """Return what tells in a temporary name which process it belongs to: machine or container, and process number."""
    return f"{_process_space()}-{os.getpid()}"


def is_left_behind(mark: str) -> bool:
    """Tell whether the process that had this `process_mark` is dead; those of other machines count as living."""
    space, _, process = mark.partition("-")
    return space == _process_space() and process.isdecimal() and not _is_alive(int(process))


@cache
def _process_space() -> str:
    """Return 8 hex digits for the machine, or the container on it, in which a process number means something."""
    try:
        numbering = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        numbering = ""
    return sha256_of_text(f"{socket.gethostname()} {numbering}")[:8]


def clear_leftovers(target: Path) -> None:
    """Remove the temporary files and folders of processes that died writing `target`; finish complete ones."""
    for folder, stem in ((target.parent, _stem(target)), (target, _INSIDE)):
        name = re.compile(
            rf"\.{re.escape(stem)}\.{_process_space()}-(?P<process>\d+)-[0-9a-f]{{8}}\.(?P<kind>partial|ready)"
        )
        for entry in _listed(folder):
            found = name.fullmatch(entry.name)
            if found and not _is_alive(int(found["process"])):
                with suppress(OSError):
                    _clear(entry, target, found["kind"])


def _listed(folder: Path) -> list[Path]:
    with suppress(OSError):  # missing, or without the right to list it
        return list(folder.iterdir())
    return []


def _clear(entry: Path, target: Path, kind: str) -> None:
    if kind == "ready" and target.is_dir():
        move_into(entry, target, sha256_of_file)
    elif entry.is_dir():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def clear_leftovers_in(folder: Path) -> None:
    """Remove the temporary files in `folder` whose processes died; those of other machines stay."""
    for entry in folder.glob(".*.partial"):
        if is_left_behind(entry.name.removesuffix(".partial").rpartition("-")[0].rpartition(".")[2]):
            entry.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield the path of an empty temporary file that replaces `target` when the block ends well.

    An `OSError` of a full disk names `target`, whatever library it came from.
    """
    place = resolved(target)
    if os.path.lexists(place) and not place.is_file():
        what = "a folder" if place.is_dir() else "a device, a pipe or a socket"
        raise InputError(target, f"is {what} where a file should go", "name a file")
    place.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(place)
    temporary = _beside(place, "partial")
    with errors_that_name(target, temporary):
        try:
            temporary.touch(exist_ok=False)
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(
                    written.fileno()
                )  # a rename that outlives its data would leave an empty file after a power cut
            rename_file(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def errors_that_name(target: Path, temporary: Path) -> Iterator[None]:
    """Make errors of writing name `target`: not its temporary name, and not nothing, as those of open streams do."""
    try:
        yield
    except OSError as error:
        if error.errno is None and _tells_full_disk(error):
            raise _full_disk(target) from error
        nameless = error.filename is None and error.errno in _DISK_IS_FULL
        if nameless or str(error.filename).startswith(str(temporary)):
            error.filename = str(target)
        raise
    except InputError:
        raise
    except Exception as error:
        if _tells_full_disk(error):
            raise _full_disk(target) from error
        raise


def _tells_full_disk(error: BaseException | None) -> bool:
    """Tell whether `error`, or one that led to it, speaks of a full disk; torch and safetensors raise no OSError."""
    while error is not None:
        if getattr(error, "errno", None) in _DISK_IS_FULL or _FULL_IN_WORDS.search(str(error)):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def _full_disk(target: Path) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))


def refuse_existing(
    target: Path, *, overwrite: bool = False, inputs: Sequence[Path] = (), starts: Sequence[bytes] = (b"",)
) -> None:
    """Raise when a file can't be written to `target` without losing what is there.

    `UsageError` when it is one of `inputs`. `InputError` when something is there: without `overwrite` anything, with it
    anything but a file that is empty or begins with one of `starts` (lower-case ASCII), as all files of its kind do.
    """
    place = resolved(target)
    if not os.path.lexists(place):
        return
    if any(source.exists() and source.samefile(place) for source in inputs):
        raise UsageError(target, "is an input of this command", "name another file")
    if not place.is_file():
        raise InputError(target, "is not a regular file", "name another file")
    if not overwrite:
        raise InputError(target, "already exists", "name another file or add --overwrite")
    with place.open("rb") as stream:
        start = stream.read(_START_BYTES).lower()
    if start and not start.startswith(tuple(starts)):
        raise InputError(target, "is not a file that this command wrote", "name another file")


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` atomically, as UTF-8."""
    with new_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write `value` to `target` atomically as indented JSON with keys in the order given; NaN is refused."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    # Paths can have undecodable bytes: Python's surrogates for them become JSON escapes of the same code.
    write_text(target, text.encode(errors="backslashreplace").decode())


def read_json(path: Path, what: str) -> Any:
    """Return the JSON value in `path`; `what` names its kind in the error ("a case description").

    Raises `InputError` for a missing file, for anything but a file of JSON, and beyond the bounds of `foreign`.
    """
    try:
        return json_of(read_text(path))
    except FileNotFoundError:
        raise InputError(path, f"is missing, so this is not {what}", "give the folder that holds it") from None
    except ValueError as error:
        raise InputError(path, f"is not {what} ({error})", "run the step that makes it again") from None


def read_object(path: Path, what: str) -> dict[str, Any]:
    """Return the JSON object in `path`; raises what `read_json` raises, and `InputError` for another value."""
    value = read_json(path, what)
    if not isinstance(value, dict):
        raise InputError(path, f"is not {what}", "run the step that makes it again")
    return value


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_text(text: str) -> str:
    """Return the SHA-256 of `text` as UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def require_exists(path: Path) -> Path:
    """Return `path`, or raise `InputError` when nothing is there."""
    if not path.exists():
        raise InputError(path, "does not exist", "check the spelling or give an existing path")
    return path


def safe_name(text: str) -> str:
    """Return foreign text as a name that a file or folder can have: what is odd in it becomes "_"."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".-")[:_NAME_CHARACTERS] or "_"

"""Outputs that appear whole or not at all, and checksums.

Every step writes to a temporary name beside its target and renames at the end, so that a kill or a full disk
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from ldctpipe.errors import InputError, UsageError
from ldctpipe.foreign import json_of, read_text

_CHUNK_BYTES = 1 << 20
_NAME_CHARACTERS = 100
_DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# How libraries tell of a full disk where they leave the error number out: the system's words, and numpy's own.
_FULL_IN_WORDS = re.compile(re.escape(os.strerror(errno.ENOSPC)) + r"|\d+ requested and \d+ written")
# One of these lies in every folder that a command makes.
_DESCRIPTIONS = (
    "card.json", "explanation.json", "ingest.json", "manifest.json", "phantom.json", "simulation.json", "store.json",
    "summary.json",
)  # fmt: skip


@contextmanager
def new_folder(target: Path, *, overwrite: bool = False, inputs: Sequence[Path] = ()) -> Iterator[Path]:
    """Yield a temporary folder that becomes `target` when the block ends well and vanishes when it fails.

    Raises what `refuse_occupied` raises. An `OSError` of a full disk names `target`, whatever library it came from.
    """
    refuse_occupied(target, overwrite=overwrite, inputs=inputs)
    place = target.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(place, "partial")
    with errors_that_name(target, temporary):
        try:
            temporary.mkdir()
            yield temporary
            replace_folder(temporary, place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def refuse_occupied(target: Path, *, overwrite: bool = False, inputs: Sequence[Path] = ()) -> None:
    """Raise when an output folder can't be written to `target` without losing what is there.

    `UsageError` when `target` is or contains one of `inputs`. `InputError` when it is a file, or a folder that holds
    something: without `overwrite` anything, with it anything but an earlier output of ldctpipe. What a killed process
    left of an earlier attempt at `target` is cleared away first.
    """
    place = target.resolve()
    for source in inputs:
        if source.resolve().is_relative_to(place):
            raise UsageError(target, f"the output folder would replace the input {source}", "name another folder")
    clear_leftovers(place)
    if target.is_file():
        raise InputError(target, "is a file where an output folder should go", "name another output folder")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not overwrite:
        raise InputError(target, "the output folder already holds files", "name another one or add --overwrite")
    if not _is_own_output(target):
        fault = "holds files that ldctpipe didn't write, and --overwrite would remove them"
        raise InputError(target, fault, "name another output folder or empty this one yourself")


def _is_own_output(folder: Path) -> bool:
    """Tell whether a command of ldctpipe made `folder`, by the description that each of them leaves there."""
    for name in _DESCRIPTIONS:
        with suppress(OSError, ValueError, InputError):
            description = json_of(read_text(folder / name))
            if isinstance(description, dict) and ("ldctpipe" in description or _has_own_format(description)):
                return True
    return False


def _has_own_format(description: dict[str, Any]) -> bool:
    return str(description.get("format")).startswith("ldctpipe-")


def replace_folder(temporary: Path, target: Path) -> None:
    """Make `temporary` the folder `target`; one that is there goes only when the new one has its place."""
    if not target.exists():
        temporary.rename(target)
        return
    retired = _beside(target, "retired")
    try:
        target.rename(retired)
        temporary.rename(target)
    finally:
        _retire(retired, target)


def _retire(retired: Path, target: Path) -> None:
    """Remove the folder that `target` was before, or put it back where nothing took its place."""
    if retired.exists() and not target.exists():
        retired.rename(target)
    shutil.rmtree(retired, ignore_errors=True)


def _beside(target: Path, kind: str) -> Path:
    # Not from tempfile, which makes files that the group can't read whatever the umask says.
    return target.with_name(f".{target.name}.{process_mark()}-{secrets.token_hex(4)}.{kind}")


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
    """Remove the temporary files and folders of processes that died over `target`; restore what they had retired."""
    if not target.parent.is_dir():
        return
    name = re.compile(
        rf"\.{re.escape(target.name)}\.{_process_space()}-(?P<process>\d+)-[0-9a-f]{{8}}\.(?P<kind>partial|retired)"
    )
    for entry in list(target.parent.iterdir()):
        found = name.fullmatch(entry.name)
        if not found or _is_alive(int(found["process"])):
            continue
        with suppress(OSError):
            if found["kind"] == "retired":
                _retire(entry, target)
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
    place = target.resolve()
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
            temporary.replace(place)
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


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` atomically, as UTF-8."""
    with new_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write `value` to `target` atomically as indented JSON with keys in the order given; NaN is refused."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    # Paths can have bytes that are no text: Python's stand-ins for them become JSON's escapes of the same name.
    write_text(target, text.encode(errors="backslashreplace").decode())


def read_json(path: Path, what: str) -> Any:
    """Return the JSON value in `path`; `what` names its kind in the error ("a case description").

    Raises `InputError` where nothing is there, for what is no file or not JSON, and beyond the bounds of `foreign`.
    """
    try:
        return json_of(read_text(path))
    except FileNotFoundError:
        raise InputError(path, f"is missing, so this is not {what}", "give the folder that holds it") from None
    except ValueError as error:
        raise InputError(path, f"is not {what} ({error})", "write it anew with the step that made it") from None


def read_object(path: Path, what: str) -> dict[str, Any]:
    """Return the JSON object in `path`; raises what `read_json` raises, and `InputError` for another value."""
    value = read_json(path, what)
    if not isinstance(value, dict):
        raise InputError(path, f"is not {what}", "write it anew with the step that made it")
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


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy of it where the file system has no hard links."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def safe_name(text: str) -> str:
    """Return foreign text as a name that a file or folder can have: what is odd in it becomes "_"."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".-")[:_NAME_CHARACTERS] or "_"

"""Outputs that appear whole or not at all, and checksums.

Every step writes to a temporary name beside its target and renames at the end, so that a kill or a full disk
leaves either the old state or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ldctpipe.errors import InputError

_CHUNK_BYTES = 1 << 20


@contextmanager
def new_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `target` when the block ends well and vanishes when it fails.

    Raises `InputError` when `target` is a file or a folder that already holds something, unless `overwrite`.
    """
    refuse_occupied(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        _replace_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_occupied(target: Path, *, overwrite: bool = False) -> None:
    """Raise `InputError` when an output folder can't be written to `target` without losing what is there."""
    if target.is_file():
        raise InputError(target, "is a file where an output folder should go", "name another output folder")
    if not overwrite and target.is_dir() and any(target.iterdir()):
        raise InputError(target, "the output folder already holds files", "name another one or add --overwrite")


def _replace_folder(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".retired", dir=target.parent))
    target.rename(retired / "old")
    temporary.rename(target)
    shutil.rmtree(retired, ignore_errors=True)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `target` that replaces `target` when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # a rename that outlives its data would leave an empty file after a power cut
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` atomically, as UTF-8."""
    with new_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write `value` to `target` atomically as indented JSON with keys in the order given; NaN is refused."""
    write_text(target, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Return the JSON value in `path`; `what` names its kind in the error ("a case description")."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, f"is missing, so there is no {what}", "give the folder that holds it") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(path, f"is not {what} ({error})", "write it anew with the step that made it") from None


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

"""Moves new files into an existing folder; files that ldctpipe didn't write stay in place.

Files of ours are listed in `.ldctpipe-files.json`, which is in every folder that a command makes, or in a manifest of
the command. Anything else in the folder is somebody else's and is neither replaced nor removed. If a new file needs the
name of such an entry, that entry is kept as NAME.kept.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from ldctpipe.errors import InputError
from ldctpipe.foreign import json_of, read_text
from ldctpipe.progress import warn

LISTING = ".ldctpipe-files.json"
_FORMAT = "ldctpipe-files@1"
_MOVE = ".ldctpipe-move.json"
_OTHER_FILE_SYSTEM = {errno.EXDEV, errno.EBUSY}  # a mount point has its name from another one

# Files of ours by name below their folder: the SHA-256 that they must have to be replaced, or None for any content.
Own = Mapping[str, str | None]


def files_below(folder: Path) -> Iterator[str]:
    """Yield the files and links below `folder`, relative to it and with "/"; links to folders are not followed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield from (f"{entry.name}/{name}" for name in files_below(Path(entry.path)))
        else:
            yield entry.name


def write_listing(folder: Path) -> None:
    """Write into `folder` the list of all its files, itself included, by which a later run recognizes them as ours."""
    names = sorted({*files_below(folder), LISTING})
    (folder / LISTING).write_text(json.dumps({"format": _FORMAT, "files": names}, indent=1) + "\n", encoding="ascii")


def listed_files(folder: Path) -> dict[str, str | None]:
    """Return the files that the listing of `folder` names; none where it has no listing."""
    try:
        listing = json_of(read_text(folder / LISTING))
        names = listing["files"] if listing["format"] == _FORMAT else []
        return {name: None for name in names if is_below(name)}
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def is_below(name: str) -> bool:
    """Tell whether a name from a file leads to something below its folder."""
    return bool(name) and not name.startswith("/") and ".." not in name.split("/")


def prepare_move(source: Path, own: Own, *, withdraw: bool) -> None:
    """Note in `source`, a complete folder of new files, which files of the target it may replace.

    With `withdraw`, earlier descriptions are removed first, so that no mixture looks like an output. From then on
    `move_into` can be interrupted anywhere and called again, also by another process.
    """
    names = [name for name in files_below(source) if not name.startswith(_MOVE)]
    first = [name for name in own if withdraw and _describes(name) and name != LISTING]
    temporary = source / f"{_MOVE}.partial"
    temporary.write_text(json.dumps({"names": names, "own": dict(own), "first": first}), encoding="ascii")
    temporary.replace(source / _MOVE)


def move_into(source: Path, target: Path, digest_of: Callable[[Path], str]) -> None:
    """Move all files of `source`, which `prepare_move` has seen, into the folder `target`, and remove `source`.

    Files of ours without a successor are removed. Files that describe the others come last.
    """
    with _only_mover_into(target):
        noted = _noted_in(source)
        if noted is None:  # another process was quicker, or this folder is not what `prepare_move` made
            return
        move = _Move(source, target, noted["own"], digest_of)
        names = sorted(noted["names"], key=lambda name: (_describes(name), name == LISTING))
        # One whose successor is in place already, before an interruption, is that successor.
        move.remove(name for name in noted["first"] if name not in names or os.path.lexists(source / name))
        move.place(name for name in names if not _describes(name))
        move.remove(set(noted["own"]) - set(names))
        move.place(filter(_describes, names))
        move.place_empty_folders()
        shutil.rmtree(source, ignore_errors=True)


def _noted_in(source: Path) -> dict[str, Any] | None:
    """Return the note of `prepare_move`; None if there is none, or one that names files outside the target."""
    try:
        noted = json.loads((source / _MOVE).read_text(encoding="ascii"))
        is_within = all(is_below(name) for key in ("names", "own", "first") for name in noted[key])
        return noted if is_within and isinstance(noted["own"], dict) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _describes(name: str) -> bool:
    return name.endswith(".json") and "/" not in name


@contextmanager
def _only_mover_into(target: Path) -> Iterator[None]:
    """Let one process at a time move files into `target`, where its file system has locks."""
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Move:
    source: Path
    target: Path
    own: Own
    digest_of: Callable[[Path], str]

    def place(self, names: Iterable[str]) -> None:
        """Move these files of the source; missing ones were moved before."""
        for name in names:
            new, place = self.source / name, self.target / name
            if not os.path.lexists(new):
                continue
            self._make_folders(Path(name).parent)
            if os.path.lexists(place) and not self._may_replace(name, new):
                keep_aside(place)
            rename_file(new, place)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files of ours, and the folders that this leaves empty."""
        for name in sorted(names):
            if self._is_own(name):
                (self.target / name).unlink()
                with suppress(OSError):
                    for folder in list(Path(name).parents)[:-1]:
                        (self.target / folder).rmdir()

    def place_empty_folders(self) -> None:
        """Make the folders of the source that hold no file."""
        for parent, _, _ in os.walk(self.source):
            self._make_folders(Path(parent).relative_to(self.source))

    def _make_folders(self, name: Path) -> None:
        for part in [*list(name.parents)[-2::-1], name]:
            place = self.target / part
            if place.is_symlink() or (os.path.lexists(place) and not place.is_dir()):
                keep_aside(place)  # the target of a link is not in this folder
            place.mkdir(exist_ok=True)

    def _may_replace(self, name: str, new: Path) -> bool:
        place = self.target / name
        if self._is_own(name):
            return True
        return _is_plain_file(place) and _is_plain_file(new) and self._are_alike(place, new)

    def _is_own(self, name: str) -> bool:
        place = self.target / name
        if name not in self.own or not _is_plain_file(place) or self._is_behind_link(name):
            return False
        digest = self.own[name]
        return digest is None or self.digest_of(place) == digest

    def _is_behind_link(self, name: str) -> bool:
        return any((self.target / part).is_symlink() for part in list(Path(name).parents)[:-1])

    def _are_alike(self, one: Path, other: Path) -> bool:
        return one.stat().st_size == other.stat().st_size and self.digest_of(one) == self.digest_of(other)


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def keep_aside(place: Path) -> None:
    """Rename an entry that is not ours, so that its name is free."""
    names = (place.with_name(f"{place.name}.kept{f'-{number}' if number > 1 else ''}") for number in count(1))
    kept = next(name for name in names if not os.path.lexists(name))
    place.rename(kept)
    warn(f"{place}: was changed since ldctpipe wrote it, or is not its own, and is kept as {kept.name}")


def rename_file(source: Path, target: Path) -> None:
    """Rename `source` to `target`; if that is a mount point, copy its content there instead."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno not in _OTHER_FILE_SYSTEM:
            raise
        shutil.copy2(source, target)
        source.unlink()


def rename_folder(source: Path, target: Path) -> None:
    """Rename the folder `source` to `target`, which must not exist, also across file systems."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in _OTHER_FILE_SYSTEM:
            raise
        copy = target.with_name(f"{target.name.rpartition('.')[0]}.partial")
        shutil.copytree(source, copy, symlinks=True)
        copy.rename(target)
        shutil.rmtree(source)

"""What CT series lie in a folder or file: every file is tried, whatever its name, by its header only."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ldctpipe.devices import usable_cores
from ldctpipe.dicom.admission import DIRECTORY
from ldctpipe.dicom.archives import is_zip, unpacked
from ldctpipe.dicom.dicomdir import is_dicomdir, referenced_files
from ldctpipe.dicom.grouping import series_of
from ldctpipe.dicom.headers import Header, header_of
from ldctpipe.dicom.membership import Membership
from ldctpipe.dicom.opening import unreadable
from ldctpipe.dicom.rejection import (
    NO_REGULAR_FILE,
    NOT_DICOM,
    NOT_DICOM_DESPITE_NAME,
    Rejected,
    Rejection,
)
from ldctpipe.dicom.series import Series
from ldctpipe.errors import InputError, ReadError, reading
from ldctpipe.files import require_exists, walk
from ldctpipe.progress import Progress

_FILES_A_TASK = 32  # a task a file would take as long as the file
_QUIET_S = 1.0
_ZIP = Rejection("a zip archive within the folder", "unpack it, or give it on its own", True)
_SILENT = (NOT_DICOM, DIRECTORY)
DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")


class NothingFound(InputError):
    """There is no file that is DICOM, or is called so, or can't be read."""


@dataclass(frozen=True)
class Skipped:
    """A file that is in no series, the reason, and whether that is a fault of the file (`is_fault`).

    With `is_unread`, its content is unknown, because it can't be read now; this can be a folder, too. `member` is
    the series in its header, which may be of another modality; None if that is not known.
    """

    path: Path
    reason: str
    remedy: str
    is_fault: bool
    member: Membership | None = None
    is_unread: bool = False


@dataclass(frozen=True)
class Discovery:
    """The CT series of a folder, sorted by key, and the files that are in none of them, sorted by path."""

    series: tuple[Series, ...]
    skipped: tuple[Skipped, ...]

    def skipped_by_reason(self) -> dict[str, int]:
        """Return how many files were left out for each reason, most frequent first."""
        return dict(Counter(skip.reason for skip in self.skipped).most_common())

    @property
    def unread(self) -> tuple[Skipped, ...]:
        """The files and folders that can't be read now: any of them may hold slices of the series."""
        return tuple(skip for skip in self.skipped if skip.is_unread)


def discover(path: Path, threads: int | None = None, *, without: Path | None = None) -> Discovery:
    """Return the CT series in `path` and what was left out.

    `path` is a folder (any tree), a zip archive, a DICOMDIR (for the files that it lists) or one file. Names that start
    with a dot are passed over. Files that are not DICOM are left out silently unless their name says DICOM, and so is
    the DICOMDIR of a folder, whose files are tried anyway. What lies in the folder `without`, where results go, is no
    input, nor is what `keep_aside` renamed among results. Raises `InputError` when the path is missing, empty, neither
    file nor folder, or holds no usable CT image, and `ReadError` where that may be so because something can't be read.
    """
    found = survey(path, threads, without=without)
    if not found.series:
        raise nothing_usable(path, found.skipped)
    return found


def discover_all(path: Path, threads: int | None = None, *, without: Path | None = None) -> Discovery:
    """Return what `discover` returns, or raise `ReadError` where something in `path` can't be read now.

    For outputs that are made once and then reused: they would lack slices for good.
    """
    found = discover(path, threads, without=without)
    if found.unread:
        raise unread_error(path, found.unread)
    return found


def survey(path: Path, threads: int | None = None, *, without: Path | None = None) -> Discovery:
    """Return what `discover` returns, also where no CT image can be used; raises `InputError` for no files at all."""
    unreadable_folders: list[OSError] = []
    with reading(path):
        files = _outside(without, path, _files(path, unreadable_folders.append))
    if not files and not unreadable_folders:
        raise NothingFound(path, "holds no files", "give a folder with CT images in DICOM")
    headers, skipped, losses = _headers(files, threads)
    skipped += [_skip(Path(error.filename), unreadable(error)) for error in unreadable_folders]
    series, left_out = series_of(headers)
    skipped += [_skip(header.path, rejection) for header, rejection in left_out]
    return Discovery(_with_losses(series, losses), tuple(sorted(skipped, key=lambda skip: skip.path)))


def _files(path: Path, on_error: Callable[[OSError], None]) -> Sequence[Path]:
    root = unpacked(path) if is_zip(require_exists(path)) else path
    if root.is_dir():
        return sorted(files_below(root, on_error))
    if not root.is_file():
        raise InputError(root, f"is {NO_REGULAR_FILE.reason}", NO_REGULAR_FILE.remedy)
    try:
        return referenced_files(root) if is_dicomdir(root) else [root]
    except OSError:  # its header can't be read either, and that says why
        return [root]


def _outside(folder: Path | None, root: Path, files: Sequence[Path]) -> Sequence[Path]:
    """Leave out what lies in `folder`, unless that holds all of `root`: the caller refuses to write there."""
    if folder is None or not folder.is_dir():
        return files
    place = folder.resolve()
    if root.resolve().is_relative_to(place):
        return files
    inside = {parent: parent.resolve().is_relative_to(place) for parent in {file.parent for file in files}}
    return [file for file in files if not inside[file.parent]]


def files_below(folder: Path, on_error: Callable[[OSError], None] = lambda _: None) -> Iterator[Path]:
    """Yield the files below `folder` whose path has no part that starts with a dot, broken links to files included.

    Goes through symbolic links, which workflow engines fill their task folders with, but into each folder once.
    `on_error` hears of folders that can't be listed, or lie too deep.
    """
    seen: set[str] = set()
    for parent, folders, names in walk(folder, on_error, follow_links=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        paths = (Path(parent, name) for name in names if not name.startswith("."))
        yield from (path for path in paths if os.path.isfile(path) or not os.path.exists(path))  # noqa: PTH110, PTH113 - these never raise


def _headers(files: Sequence[Path], threads: int | None) -> tuple[list[Header], list[Skipped], Counter[str]]:
    """Usable headers, files left out, and how many damaged files each SeriesInstanceUID lost."""
    headers: list[Header] = []
    skipped: list[Skipped] = []
    losses: Counter[str] = Counter()
    for path, result in zip(files, _scanned(files, threads or usable_cores()), strict=True):
        if isinstance(result, Header):
            headers.append(result)
            continue
        losses.update([result.series_uid] if result.series_uid else [])
        rejection = _explained(path, result.rejection)
        if rejection not in _SILENT or len(files) == 1:
            skipped.append(_skip(path, rejection, result.member))
    return headers, skipped, losses


def _scanned(files: Sequence[Path], threads: int) -> Iterator[Header | Rejected]:
    """Headers in the order of `files`, with progress where that takes more than a moment."""
    progress, started, unshown = Progress("reading headers", len(files), "files"), time.monotonic(), 0
    parts = [files[first : first + _FILES_A_TASK] for first in range(0, len(files), _FILES_A_TASK)]
    with ThreadPoolExecutor(threads) as pool:
        for results in pool.map(lambda part: [_header_or_rejected(path) for path in part], parts):
            yield from results
            unshown += len(results)
            if time.monotonic() - started > _QUIET_S:
                progress.advance(unshown)
                unshown = 0
    if progress.done:
        progress.advance(unshown)
        progress.finish()


def _header_or_rejected(path: Path) -> Header | Rejected:
    try:
        return header_of(path)
    except Rejected as rejected:
        return rejected


def _explained(path: Path, rejection: Rejection) -> Rejection:
    """What a file that is not DICOM is instead, as far as that matters to the user."""
    if rejection is not NOT_DICOM:
        return rejection
    if path.suffix.lower() in DICOM_SUFFIXES:
        return NOT_DICOM_DESPITE_NAME
    try:
        return _ZIP if is_zip(path) else NOT_DICOM
    except OSError as error:
        return unreadable(error)


def _skip(path: Path, rejection: Rejection, member: Membership | None = None) -> Skipped:
    return Skipped(path, rejection.reason, rejection.remedy, rejection.is_fault, member, rejection.is_transient)


def _with_losses(series: Sequence[Series], losses: Counter[str]) -> tuple[Series, ...]:
    """Add a warning to each series of which damaged files are missing."""
    return tuple(
        replace(one, warnings=(*one.warnings, f"{losses[one.uid]} damaged file(s) of this series left out"))
        if losses[one.uid]
        else one
        for one in series
    )


def unread_error(path: Path, unread: Sequence[Skipped]) -> ReadError:
    """Return the error for files and folders of `path` that can't be read now; it names the first of them."""
    first = unread[0]
    more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
    remedy = f"{first.remedy}; move away what is no part of the scan"
    return ReadError(first.path, f"{first.reason}{more}, so series may lack slices", remedy)


def nothing_usable(path: Path, skipped: Sequence[Skipped]) -> InputError:
    """Return the error for a path in which no file is a usable CT image, with the reasons."""
    unread = [skip for skip in skipped if skip.is_unread]
    is_nothing = path.is_dir() and all(skip.reason == NOT_DICOM.reason for skip in skipped)
    kind = ReadError if unread else NothingFound if is_nothing else InputError
    if len(skipped) == 1:
        only = skipped[0]
        return kind(only.path, only.reason if unread else f"can't be used: {only.reason}", only.remedy)
    counts = Counter(skip.reason for skip in skipped).most_common()
    reasons = ", ".join(f"{count} × {reason}" for reason, count in counts) or "no DICOM file at all"
    remedy = unread[0].remedy if unread else "give a folder with CT images in HU"
    return kind(path, f"holds no usable CT image ({reasons})", remedy)

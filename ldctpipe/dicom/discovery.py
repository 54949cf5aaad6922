"""What CT series lie in a folder or file: every file is tried, whatever its name, by its header only."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ldctpipe.dicom.archives import is_zip, unpacked
from ldctpipe.dicom.grouping import series_of
from ldctpipe.dicom.headers import Header, header_of
from ldctpipe.dicom.rejection import NOT_DICOM, NOT_DICOM_DESPITE_NAME, Rejected, Rejection
from ldctpipe.dicom.series import Series
from ldctpipe.errors import InputError
from ldctpipe.files import require_exists

_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")


@dataclass(frozen=True)
class Skipped:
    """A file that is in no series, the reason, and whether that is a fault of the file (`is_fault`)."""

    path: Path
    reason: str
    remedy: str
    is_fault: bool


@dataclass(frozen=True)
class Discovery:
    """The CT series of a folder, sorted by key, and the files that are in none of them, sorted by path."""

    series: tuple[Series, ...]
    skipped: tuple[Skipped, ...]

    def skipped_by_reason(self) -> dict[str, int]:
        """Return how many files were left out for each reason, most frequent first."""
        return dict(Counter(skip.reason for skip in self.skipped).most_common())


def discover(path: Path, threads: int | None = None) -> Discovery:
    """Return the CT series in `path` and what was left out; `path` is a folder (any tree), a zip archive or one file.

    Names that start with a dot are passed over. Files that are not DICOM are left out silently unless their name says
    DICOM. Raises `InputError` when the path is missing, empty, or holds no usable CT image.
    """
    root = unpacked(path) if is_zip(require_exists(path)) else path
    files = [path] if root.is_file() else sorted(files_below(root))
    if not files:
        raise InputError(path, "holds no files", "give a folder with CT images in DICOM")
    headers, skipped, losses = _headers(files, threads)
    series, left_out = series_of(headers)
    skipped += [_skip(header.path, rejection) for header, rejection in left_out]
    if not series:
        raise _nothing_usable(path, skipped)
    return Discovery(_with_losses(series, losses), tuple(sorted(skipped, key=lambda skip: skip.path)))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the regular files below `folder` whose path has no part that starts with a dot.

    Goes through symbolic links, which workflow engines fill their task folders with, but into each folder once.
    """
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        paths = (Path(parent, name) for name in names if not name.startswith("."))
        yield from (path for path in paths if path.is_file())


def _headers(files: Sequence[Path], threads: int | None) -> tuple[list[Header], list[Skipped], Counter[str]]:
    """Usable headers, files left out, and how many damaged files each SeriesInstanceUID lost."""
    headers: list[Header] = []
    skipped: list[Skipped] = []
    losses: Counter[str] = Counter()
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for path, result in zip(files, pool.map(_header_or_rejected, files), strict=True):
            if isinstance(result, Header):
                headers.append(result)
                continue
            losses.update([result.series_uid] if result.series_uid else [])
            rejection = result.rejection
            if rejection is NOT_DICOM and path.suffix.lower() in _DICOM_SUFFIXES:
                rejection = NOT_DICOM_DESPITE_NAME
            if rejection is not NOT_DICOM or len(files) == 1:
                skipped.append(_skip(path, rejection))
    return headers, skipped, losses


def _header_or_rejected(path: Path) -> Header | Rejected:
    try:
        return header_of(path)
    except Rejected as rejected:
        return rejected


def _skip(path: Path, rejection: Rejection) -> Skipped:
    return Skipped(path, rejection.reason, rejection.remedy, rejection.is_fault)


def _with_losses(series: Sequence[Series], losses: Counter[str]) -> tuple[Series, ...]:
    """Add a warning to each series of which damaged files are missing."""
    return tuple(
        replace(one, warnings=(*one.warnings, f"{losses[one.uid]} damaged file(s) of this series left out"))
        if losses[one.uid]
        else one
        for one in series
    )


def _nothing_usable(path: Path, skipped: Sequence[Skipped]) -> InputError:
    if len(skipped) == 1:
        only = skipped[0]
        return InputError(only.path, f"can't be used: {only.reason}", only.remedy)
    counts = Counter(skip.reason for skip in skipped).most_common()
    reasons = ", ".join(f"{count} × {reason}" for reason, count in counts) or "no DICOM file at all"
    return InputError(path, f"holds no usable CT image ({reasons})", "give a folder with CT images in HU")

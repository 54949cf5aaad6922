"""SHA-256 of every file in a run's output folder: `checksums.json`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ldctpipe.errors import InputError
from ldctpipe.files import read_json, real_path, sha256_of_file, sha256_of_text, walk, write_json
from ldctpipe.progress import track

CHECKSUMS, FORMAT = "checksums.json", "ldctpipe-checksums@1"


def files_in(folder: Path, *, without: Iterable[Path] = ()) -> list[str]:
    """Return the files below `folder` as sorted relative paths with "/".

    Links count as what they point to. Hidden files and folders are left out, as are those in `without` and
    `checksums.json` itself, which can't hold its own checksum.
    """
    left_out = {real_path(path) for path in without}
    found = {path.relative_to(folder).as_posix() for path in _walk(folder, left_out)}
    return sorted(found - {CHECKSUMS})


def _walk(folder: Path, left_out: set[Path]) -> Iterator[Path]:
    """Yield the files; a link to a folder is not followed, as it may lead back up."""
    for parent, folders, names in walk(folder, _raise):
        shown = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in shown if real_path(Path(parent, name)) not in left_out]
        files = (Path(parent, name) for name in names if not name.startswith("."))
        yield from (file for file in files if file.is_file() and real_path(file) not in left_out)


def _raise(error: OSError) -> None:
    raise error


def checksums_of(folder: Path, *, without: Iterable[Path] = ()) -> dict[str, str]:
    """Return the SHA-256 of all files that `files_in` returns, by relative path."""
    names = files_in(folder, without=without)
    return {name: sha256_of_file(folder / name) for name in track(names, "checksums", "files")}


def write_checksums(folder: Path, digests: dict[str, str]) -> None:
    """Write `folder/checksums.json`: SHA-256 by relative path."""
    files = dict(sorted(digests.items()))
    write_json(folder / CHECKSUMS, {"format": FORMAT, "algorithm": "sha256", "files": files})


def read_checksums(folder: Path) -> dict[str, str]:
    """Return SHA-256 by relative path from `folder/checksums.json`; raises `InputError` where it is damaged."""
    listed = read_json(folder / CHECKSUMS, "a list of checksums")
    files = listed.get("files") if isinstance(listed, dict) and listed.get("format") == FORMAT else None
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise InputError(
            folder / CHECKSUMS, f"is not a list of format {FORMAT}", "write it anew with `ldctpipe record`"
        )
    return files


def summary_of_scan(scan: Path) -> dict[str, Any]:
    """Return the number of files of a scan (a file or folder), their bytes, and one SHA-256 for all of them.

    That is the SHA-256 of the files' own ones in hexadecimal, sorted, a line each; so it tells of no file's name, and
    `find SCAN -type f -exec sha256sum {} + | cut -c1-64 | sort | sha256sum` prints the same.
    """
    files = [scan] if scan.is_file() else sorted(_every_file(scan))
    if not files:
        raise InputError(scan, "holds no files", "give a scan")
    digests = sorted(sha256_of_file(path) for path in track(files, "checksums", "files"))
    return {
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "sha256": sha256_of_text("".join(f"{digest}\n" for digest in digests)),
    }


def _every_file(scan: Path) -> Iterator[Path]:
    for parent, _, names in walk(scan, _raise):
        yield from (path for name in names if (path := Path(parent, name)).is_file())

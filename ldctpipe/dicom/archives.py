"""Zip archives of DICOM files, unpacked for the life of this process."""

from __future__ import annotations

import atexit
import errno
import lzma
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ldctpipe.errors import InputError, ReadError
from ldctpipe.files import is_left_behind, process_mark

_PREFIX = "ldctpipe-zip-"
_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_SUFFIXES = (".dcm", ".ima", ".dicom")
_DEEPEST = 3  # an archive in an archive in an archive
_LARGEST_RATIO = 200  # CT compresses to a half or a third, blank images to a hundredth
_RATIO_MATTERS_FROM_BYTES = 1 << 30
_MOST_FILES = 100_000  # a whole-body study at 0.5 mm has a twentieth of that
_KEPT_FREE_BYTES = 64 << 20
_LOCKED = 0x1
_DAMAGED = (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, ValueError)


def is_zip(path: Path) -> bool:
    """Tell whether `path` is a zip archive: by its content, whatever its name, even where its end is missing."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return _starts_as_zip(stream)


def _starts_as_zip(stream: BinaryIO) -> bool:
    start = stream.read(132)
    return start.startswith(_STARTS) and start[128:] != b"DICM"  # the preamble of a DICOM file is anybody's


def unpacked(archive: Path) -> Path:
    """Return a temporary folder with the files of `archive`, removed when the process ends.

    Files get numbers for names, so no name in the archive can point outside the folder or replace another file. Names
    with a part that starts with a dot are left out, as in folders. Archives inside it are unpacked too. What killed
    processes had unpacked is removed first.

    Raises `InputError` if the archive is damaged, cut short, locked with a password, contains more than 100,000 files,
    or would unpack to more than both 1 GiB and 200 times its size, and `ReadError` if it can't be read now or needs
    more space than is free.
    """
    _clear_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{process_mark()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        _Unpacking(archive, folder).unpack(archive, 1)
    except _DAMAGED:  # their words hold the names of files
        shutil.rmtree(folder, ignore_errors=True)
        raise _damaged(archive) from None
    except OSError as error:  # of the archive, or of the disk that it is unpacked to
        shutil.rmtree(folder, ignore_errors=True)
        if error.errno in (None, errno.EINVAL):  # bz2's word for damage; a place before the start of the file
            raise _damaged(archive) from None
        remedy = f"check the archive, the space in {folder.parent} (TMPDIR names another place), and run it again"
        raise ReadError(archive, f"can't be unpacked ({error.strerror or error})", remedy) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _damaged(archive: Path) -> InputError:
    remedy = "copy it again, or unpack it yourself and give the folder"
    return InputError(archive, "can't be unpacked: damaged, cut short or packed in an unknown way", remedy)


def _clear_leftovers() -> None:
    """Remove what processes that were killed had unpacked: patients should not lie about."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*-*"):
        if is_left_behind(folder.name.removeprefix(_PREFIX).rpartition("-")[0]):
            shutil.rmtree(folder, ignore_errors=True)


class _Unpacking:
    """One archive on its way into `folder`: how many files and bytes came out of it so far."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self._archive, self._folder = archive, folder
        self._count, self._size_bytes = 0, 0

    def unpack(self, source: Path | BinaryIO, depth: int) -> None:
        with zipfile.ZipFile(source) as content:
            members = list(_wanted(content))
            if any(member.flag_bits & _LOCKED for member in members):
                raise self._refusal("is locked with a password", "unpack it yourself and give the folder")
            if self._count + len(members) > _MOST_FILES:
                fault = f"contains more than {_MOST_FILES:,} files"
                raise self._refusal(fault, "unpack it yourself and give the folder")
            self._require_space(sum(member.file_size for member in members))
            for member in members:
                self._unpack_member(content, member, depth)

    def _require_space(self, size_bytes: int) -> None:
        """Refuse before anything is written; zipfile hands out no more of a file than its declared size."""
        self._size_bytes += size_bytes
        allowed_bytes = max(_RATIO_MATTERS_FROM_BYTES, _LARGEST_RATIO * self._archive.stat().st_size)
        if self._size_bytes > allowed_bytes:
            raise self._refusal("unpacks to far more than CT images do", "unpack it yourself and give the folder")
        if size_bytes > shutil.disk_usage(self._folder).free - _KEPT_FREE_BYTES:
            remedy = f"free space in {self._folder.parent} or set TMPDIR to a larger disk"
            raise ReadError(self._archive, "needs more space to unpack than is free", remedy)

    def _unpack_member(self, content: zipfile.ZipFile, member: zipfile.ZipInfo, depth: int) -> None:
        suffix = PurePosixPath(member.filename).suffix.lower()
        target = self._folder / f"{self._count:07d}{suffix if suffix in _SUFFIXES else ''}"
        self._count += 1
        with content.open(member) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        os.utime(target, ns=(0, self._archive.stat().st_mtime_ns))  # as old as the archive, whenever it is unpacked
        if not is_zip(target):
            return
        if depth == _DEEPEST:
            raise self._refusal("holds archives in archives, too deep", "unpack it yourself and give the folder")
        self.unpack(target, depth + 1)
        target.unlink()

    def _refusal(self, fault: str, remedy: str) -> InputError:
        return InputError(self._archive, fault, remedy)


def _wanted(content: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    """Files whose names have no hidden part; some archives are written with Windows separators."""
    for member in content.infolist():
        name = member.filename.replace("\\", "/")
        hidden = any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))
        if not name.endswith("/") and not hidden and "__MACOSX" not in name.split("/"):
            yield member

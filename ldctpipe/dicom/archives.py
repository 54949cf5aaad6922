"""Zip archives of DICOM files, unpacked for the life of this process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from ldctpipe.errors import InputError


def is_zip(path: Path) -> bool:
    """Tell whether `path` is a zip archive by name and content."""
    return path.is_file() and path.suffix.lower() == ".zip" and zipfile.is_zipfile(path)


def unpacked(archive: Path) -> Path:
    """Return a temporary folder with the files of `archive`, removed when the process ends.

    Files get numbers for names, so no name in the archive can point outside the folder. Raises `InputError` when the
    archive is damaged, locked with a password, or larger than the free space.
    """
    folder = Path(tempfile.mkdtemp(prefix="ldctpipe-zip-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as content:
            _unpack(archive, content, folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(archive, f"can't be unpacked ({error})", "unpack it yourself and give the folder") from None
    return folder


def _unpack(archive: Path, content: zipfile.ZipFile, folder: Path) -> None:
    members = [member for member in content.infolist() if not member.is_dir()]
    if sum(member.file_size for member in members) > shutil.disk_usage(folder).free:
        raise InputError(archive, "needs more space than is free", f"free space in {folder.parent}")
    for number, member in enumerate(members):
        name = PurePosixPath(member.filename)
        if name.name.startswith("."):
            continue
        target = folder / f"{number:07d}{name.suffix[:8]}"
        with content.open(member) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)

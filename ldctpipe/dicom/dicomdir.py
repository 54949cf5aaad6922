"""A DICOMDIR, the list of files on a CD or in an export (PS3.10 §8, PS3.3 annex F)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from ldctpipe.dicom.opening import read_whole
from ldctpipe.dicom.rejection import Rejected
from ldctpipe.errors import InputError, ReadError

_MARK = b"DICM"
_CLASS = str(MediaStorageDirectoryStorage).encode()
_NOT_IN_USE = 0
_UNSAFE = re.compile(r"\.{0,2}|.*[/\\:\0].*", re.DOTALL)


def is_dicomdir(path: Path) -> bool:
    """Tell whether the file at `path` is a DICOMDIR, by the object class in its file meta information."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        start = stream.read(1024)
    meta = start.partition(b"\x02\x00\x10\x00")[0]  # what stands before the transfer syntax
    return start[128:132] == _MARK and _CLASS in meta


def referenced_files(path: Path) -> list[Path]:
    """Return the files that the DICOMDIR at `path` lists, each once, in its order, whether they are there or not.

    Opening one that is not there fails, and its path says which it is. Names are found in any case and with the
    version number that some systems show (`IM1;1`). Records that are not in use are left out.

    Raises `InputError` for a damaged DICOMDIR, for one that lists nothing, and for one that lists a file outside its
    own folder.
    """
    try:
        listed = [_components(path, record) for record in _records(path)]
    except Rejected as rejected:
        rejection = rejected.rejection
        if rejection.is_transient:
            raise ReadError(path, rejection.reason, rejection.remedy) from None
        raise InputError(path, f"can't be used: {rejection.reason}", "give the folder instead") from None
    found = {_on_disk(path.parent, components): None for components in listed if components}
    found.pop(path, None)
    if not found:
        raise InputError(path, "lists no files", "give the folder with the images instead")
    return list(found)


def _records(path: Path) -> Sequence[Dataset]:
    directory = read_whole(path)
    try:
        return [item for item in directory.DirectoryRecordSequence if _is_in_use(item)]
    except Exception:  # noqa: BLE001 - pydicom converts foreign values only now, and fails in any way there is
        raise InputError(path, "is a damaged DICOMDIR", "give the folder instead") from None


def _is_in_use(record: Dataset) -> bool:
    return record.get("RecordInUseFlag") != _NOT_IN_USE


def _components(path: Path, record: Dataset) -> tuple[str, ...]:
    """The parts of ReferencedFileID; none for records that stand for a patient, a study or a series."""
    try:
        value = record.get("ReferencedFileID")
    except Exception:  # noqa: BLE001 - as above
        raise InputError(path, "is a damaged DICOMDIR", "give the folder instead") from None
    if not value:
        return ()
    components = (str(value),) if isinstance(value, str) else tuple(str(part) for part in value)
    if any(_UNSAFE.fullmatch(part) for part in components):
        raise InputError(path, "lists a file outside its own folder", "give the folder with the images instead")
    return components


def _on_disk(folder: Path, components: Sequence[str]) -> Path:
    for name in components:
        folder = _entry(folder, name)
    return folder


def _entry(folder: Path, name: str) -> Path:
    """The entry called `name`, or else the one that is called so but for case and version number."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    wanted = name.casefold()
    alike = (entry for entry in folder.iterdir() if entry.name.partition(";")[0].rstrip(".").casefold() == wanted)
    return min(alike, default=exact)

"""Foreign bytes to pydicom datasets: what is no DICOM, what is damaged, what is cut short."""

from __future__ import annotations

import logging
import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom import config
from pydicom.dataset import FileDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from ldctpipe.dicom.rejection import CUT_SHORT, DAMAGED, NOT_DICOM, Rejected, Rejection

# What pydicom says about a faulty value holds the value, and that can be a name or a birth date.
config.settings.reading_validation_mode = config.IGNORE
config.settings.writing_validation_mode = config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")

_PREAMBLE_BYTES = 128
_LARGEST_INFLATED_BYTES = 1 << 28
_UNDEFINED_LENGTH = 0xFFFFFFFF
_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)


@dataclass(frozen=True)
class PixelPlace:
    """Where native pixel data lie in a file (`offset` is None for compressed ones), and the file's size and time."""

    offset: int | None
    length_bytes: int
    file_bytes: int
    modified_ns: int


def read_header(path: Path, keywords: Sequence[str]) -> tuple[FileDataset, PixelPlace]:
    """Return the named attributes of the file at `path`, and where its pixel data lie; these are not read.

    Raises `Rejected` for a file that is not DICOM, can't be parsed, or ends before its pixel data do.
    """
    with _opened(path) as stream:
        _require_dicom(stream)
        _refuse_deflate_bomb(stream)
        state = os.fstat(stream.fileno())
        dataset = _parse(stream, stop_before_pixels=True, specific_tags=list(keywords))
        place = PixelPlace(None, 0, state.st_size, state.st_mtime_ns)
        if "Rows" in dataset and _transfer_syntax(dataset) != DeflatedExplicitVRLittleEndian:
            place = _measured(stream, dataset, place)
    return dataset, place


def read_whole(path: Path) -> FileDataset:
    """Return all attributes of the file at `path`, pixel data included; raises `Rejected` as `read_header` does."""
    with _opened(path) as stream:
        _require_dicom(stream)
        _refuse_deflate_bomb(stream)
        return _parse(stream)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise Rejected(Rejection(f"can't be opened ({error.strerror})", "check its permissions", True)) from None


def looks_like_dicom(path: Path) -> bool:
    """Tell whether a file starts as DICOM does; says nothing about the rest of it."""
    try:
        with _opened(path) as stream:
            _require_dicom(stream)
    except Rejected:
        return False
    return True


def _require_dicom(stream: BinaryIO) -> None:
    """Refuse what has neither the DICM mark nor, as very old files, the first attributes of a bare dataset."""
    start = stream.read(_PREAMBLE_BYTES + 4)
    stream.seek(0)
    bare = start[:2] in (b"\x08\x00", b"\x02\x00") and start[3:4] == b"\x00" and len(start) > _PREAMBLE_BYTES
    if start[_PREAMBLE_BYTES:] != b"DICM" and not bare:
        raise Rejected(NOT_DICOM)


def _refuse_deflate_bomb(stream: BinaryIO) -> None:
    start = stream.read(1024)
    stream.seek(0)
    if DeflatedExplicitVRLittleEndian.encode() + b"\0" not in start:
        return
    try:
        group_length = struct.unpack("<L", start[140:144])[0]  # PS3.10 §7.1: the first element of the file meta
        stream.seek(144 + group_length)
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), _LARGEST_INFLATED_BYTES)
    except (struct.error, zlib.error):
        raise Rejected(DAMAGED) from None
    if len(inflated) == _LARGEST_INFLATED_BYTES:
        raise Rejected(Rejection("inflates beyond 256 MiB", "export it again uncompressed", True))
    stream.seek(0)


def _parse(stream: BinaryIO, **options: object) -> FileDataset:
    try:
        return pydicom.dcmread(stream, force=True, **options)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - a parser of foreign bytes fails in any way there is
        raise Rejected(DAMAGED) from None


def _transfer_syntax(dataset: FileDataset) -> UID:
    return UID(str(dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)))


def _measured(stream: BinaryIO, dataset: FileDataset, place: PixelPlace) -> PixelPlace:
    """Measure pixel data (PS3.5 §8.2 native, §A.4 encapsulated) and refuse a file that ends before they do."""
    cut_short = Rejected(CUT_SHORT, str(dataset.get("SeriesInstanceUID", "")))
    order = ">" if _transfer_syntax(dataset) == ExplicitVRBigEndian else "<"
    head = stream.read(8)
    if len(head) < 8 or struct.unpack(order + "HH", head[:4]) != _PIXEL_DATA:
        raise cut_short
    if head[4:6] in (b"OW", b"OB", b"UN"):
        head = head[:4] + stream.read(4).ljust(4, b"\xff")
    length_bytes = struct.unpack(order + "L", head[4:8])[0]
    encapsulated = length_bytes == _UNDEFINED_LENGTH
    start = stream.tell()
    if not (_fragments_fit(stream, place.file_bytes) if encapsulated else start + length_bytes <= place.file_bytes):
        raise cut_short
    return place if encapsulated else replace(place, offset=start, length_bytes=length_bytes)


def _fragments_fit(stream: BinaryIO, size_bytes: int) -> bool:
    while len(head := stream.read(8)) == 8:
        group, element, length_bytes = struct.unpack("<HHL", head)
        if (group, element) == _SEQUENCE_END:
            return True
        if (group, element) != _ITEM or stream.tell() + length_bytes > size_bytes:
            return False
        stream.seek(length_bytes, os.SEEK_CUR)
    return False

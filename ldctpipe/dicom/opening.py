"""Foreign bytes to pydicom datasets: what is no DICOM, what is damaged, what can't be read or inflated."""

from __future__ import annotations

import logging
import os
import stat
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom import config
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ldctpipe.dicom.attributes import Attributes, tags_of
from ldctpipe.dicom.elements import DEEPEST_NESTING, EXPLICIT_LITTLE, PIXEL_DATA, Element, ReadAt, top_level_elements
from ldctpipe.dicom.rejection import DAMAGED, NOT_DICOM, Rejected, Rejection
from ldctpipe.errors import READ_REMEDY, is_transient

# What pydicom says about a faulty value holds the value, and that can be a name or a birth date.
config.settings.reading_validation_mode = config.IGNORE
config.settings.writing_validation_mode = config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")

_PREAMBLE_BYTES = 128
_MARK = b"DICM"
_META_GROUP = 2
_META = tags_of(("TransferSyntaxUID", "MediaStorageSOPClassUID"))
_LARGEST_VALUE_BYTES = 1 << 20
# Twice the pixels of the largest image that is taken, 4096 × 4096 of 16 bits.
_LARGEST_INFLATED_MIB = 64
_DEFLATED_CHUNK_BYTES = 1 << 16


def read_whole(path: Path) -> FileDataset:
    """Return all attributes of the file at `path`, pixel data included.

    Raises `Rejected` for a file that is not DICOM, can't be parsed, or inflates without bounds.
    """
    try:
        with path.open("rb") as stream:
            _refuse_deflate_bomb(stream)
            dataset = _parse(stream)
            _refuse_deep_nesting(dataset)
            return dataset
    except OSError as error:
        raise Rejected(unreadable(error)) from None


def looks_like_dicom(path: Path) -> bool:
    """Tell whether a file starts as DICOM does; says nothing about the rest of it."""
    try:
        return _starts_as_dicom(path)
    except OSError:
        return False


def may_be_dicom(path: Path) -> bool:
    """Tell whether a file starts as DICOM does, or can't be read now, so that nobody knows."""
    try:
        return _starts_as_dicom(path)
    except OSError as error:
        return is_transient(error)


def _starts_as_dicom(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe would wait for a writer
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return False
            first_element_offset(lambda offset, count: os.pread(descriptor, count, offset))
        finally:
            os.close(descriptor)
    except Rejected:
        return False
    return True


def unreadable(error: OSError) -> Rejection:
    """Return the rejection of a file that the system can't open or read: no permission, gone, a disk at fault."""
    return Rejection(f"can't be read ({error.strerror or error})", READ_REMEDY, True, is_transient(error))


def first_element_offset(read: ReadAt) -> int:
    """Return where the first element of a DICOM file starts: behind the mark, or 0 in a bare dataset of old times.

    Raises `Rejected` for what has neither the DICM mark nor the first attributes of a dataset.
    """
    start = read(0, _PREAMBLE_BYTES + len(_MARK))
    if start[_PREAMBLE_BYTES:] == _MARK:
        return len(start)
    if start[:2] in (b"\x08\x00", b"\x02\x00") and start[3:4] == b"\x00" and len(start) > _PREAMBLE_BYTES:
        return 0
    raise Rejected(NOT_DICOM)


def file_meta(read: ReadAt, size_bytes: int) -> tuple[Attributes, int]:
    """Return the file meta (PS3.10 §7.1), which is explicit little endian always, and where the dataset starts."""
    start = first_element_offset(read)
    raw = {}
    for element in top_level_elements(read, start, size_bytes, EXPLICIT_LITTLE):
        if element.tag >> 16 != _META_GROUP:
            break
        if element.tag in _META:
            raw[_META[element.tag]] = element.vr, value_of(read, element)
        start = element.offset + element.length_bytes
    return Attributes(raw, EXPLICIT_LITTLE), start


def value_of(read: ReadAt, element: Element) -> bytes:
    """Return the raw value of an element; raises `Rejected` for one far larger than any attribute has."""
    if element.length_bytes > _LARGEST_VALUE_BYTES:
        raise Rejected(DAMAGED)
    return read(element.offset, element.length_bytes)


def inflated(read: ReadAt, start: int) -> tuple[bytes, bool]:
    """Return the deflated dataset (PS3.5 §A.5) that starts at `start`, or what there is of it, and if that is all.

    Raises `Rejected` where it is damaged or grows beyond 64 MiB.
    """
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    content = bytearray()
    limit_bytes = _LARGEST_INFLATED_MIB << 20
    while not inflating.eof and (chunk := read(start, _DEFLATED_CHUNK_BYTES)):
        start += len(chunk)
        try:
            content += inflating.decompress(chunk, limit_bytes + 1 - len(content))
        except zlib.error:
            raise Rejected(DAMAGED) from None
        if len(content) > limit_bytes:
            what = f"inflates beyond {_LARGEST_INFLATED_MIB} MiB"
            raise Rejected(Rejection(what, "export it again uncompressed", True))
    return bytes(content), inflating.eof


def _reader_of(stream: BinaryIO) -> ReadAt:
    return lambda offset, count: os.pread(stream.fileno(), count, offset)


def _refuse_deflate_bomb(stream: BinaryIO) -> None:
    read, size_bytes = _reader_of(stream), os.fstat(stream.fileno()).st_size
    meta, start = file_meta(read, size_bytes)
    if meta.text("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        inflated(read, start)


def _parse(stream: BinaryIO) -> FileDataset:
    try:
        return pydicom.dcmread(stream, force=True)
    except OSError as error:
        if error.errno is None:
            raise Rejected(DAMAGED) from None
        raise
    except Exception:  # noqa: BLE001 - a parser of foreign bytes fails in any way there is
        raise Rejected(DAMAGED) from None


def _refuse_deep_nesting(dataset: Dataset) -> None:
    """Raise `Rejected` for sequences nested deeper than in any image, each level of which holds the bytes of all below.

    Those of undefined length are parsed and bounded before. Leaves `dataset` unparsed where it is, and so unaltered.
    """
    level: list[Dataset] = [dataset]
    for _ in range(DEEPEST_NESTING):
        level = [item for each in level for item in _items_in(each)]
        if not level:
            return
    raise Rejected(DAMAGED)


def _items_in(dataset: Dataset) -> Iterator[Dataset]:
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if element is None or element.VR not in (None, "SQ", "UN") or tag == PIXEL_DATA:
            continue
        with suppress(Exception):  # what can't be parsed is not nested either
            value = element.value
            if isinstance(element, RawDataElement):
                value = convert_raw_data_element(element, ds=dataset).value
            yield from value if isinstance(value, Sequence) else ()

"""One file's header: file meta, encoding, the attributes asked for, and the place of the pixel data."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from ldctpipe.dicom.attributes import Attributes, tags_of
from ldctpipe.dicom.elements import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    PIXEL_DATA,
    UNDEFINED_LENGTH,
    Element,
    Encoding,
    ReadAt,
    fragments_are_whole,
    top_level_elements,
)
from ldctpipe.dicom.opening import file_meta, inflated, unreadable, value_of
from ldctpipe.dicom.rejection import NO_REGULAR_FILE, Rejected

_HEAD_BYTES = 40 << 10  # holds all elements before the pixel data of most CT images


@dataclass(frozen=True)
class PixelPlace:
    """Where pixel data lie in a file; for a deflated file `offset` counts in what it inflates to.

    `length_bytes` is None for encapsulated pixel data. `is_whole` tells whether the file holds all of them.
    """

    offset: int
    length_bytes: int | None
    is_whole: bool


@dataclass(frozen=True)
class Scan:
    """What was read of one file: its file meta, the attributes asked for, its pixel data's place, its size and time.

    Where there are no pixel data, or empty ones, `largest_private` is the largest private element, and `ends_early`
    tells whether the file ends within an element.
    """

    meta: Attributes
    attributes: Attributes
    pixels: PixelPlace | None
    file_bytes: int
    modified_ns: int
    largest_private: Element | None = None
    ends_early: bool = False

    @property
    def transfer_syntax_uid(self) -> str:
        """The transfer syntax; where none is given it is DICOM's default."""
        return self.meta.text("TransferSyntaxUID") or str(ImplicitVRLittleEndian)


def scan(path: Path, keywords: tuple[str, ...]) -> Scan:
    """Return the attributes named by `keywords` of the file at `path`, and where its pixel data lie.

    Reads the first 40 KiB of the file, and what it must beyond them; seeks over large values and pixel data. Raises
    `Rejected` for a file that is not DICOM, can't be read, or is built as no DICOM file is.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe would wait for a writer
        try:
            return _scan(descriptor, keywords)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Rejected(unreadable(error)) from None


def _scan(descriptor: int, keywords: tuple[str, ...]) -> Scan:
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        raise Rejected(NO_REGULAR_FILE)
    head = os.pread(descriptor, _HEAD_BYTES, 0)

    def read_file(offset: int, count: int) -> bytes:
        in_head = offset + count <= len(head)
        return head[offset : offset + count] if in_head else os.pread(descriptor, count, offset)

    read: ReadAt = read_file
    meta, start = file_meta(read, state.st_size)
    syntax, size_bytes, is_complete = meta.text("TransferSyntaxUID"), state.st_size, True
    if syntax == DeflatedExplicitVRLittleEndian:
        content, is_complete = inflated(read, start)
        read, start, size_bytes = _reader_of(content), 0, len(content)
    encoding = _encoding(read(start, 6), syntax)
    attributes, place = _dataset(read, start, size_bytes, encoding, keywords)
    if place and not is_complete:
        place = replace(place, is_whole=False)
    found = Scan(meta, attributes, place, state.st_size, state.st_mtime_ns)
    if place and place.length_bytes != 0:
        return found
    elements = _every_element(read, start, size_bytes, encoding)
    private = (one for one in elements if one.tag >> 16 & 1)  # PS3.5 §7.8: of an odd group
    largest = max(private, key=lambda one: one.length_bytes, default=None)
    ends_early = not elements or elements[-1].offset + elements[-1].length_bytes < size_bytes
    return replace(found, largest_private=largest, ends_early=ends_early)


def _every_element(read: ReadAt, start: int, size_bytes: int, encoding: Encoding) -> list[Element]:
    """All top-level elements, those behind empty pixel data too."""
    elements = list(top_level_elements(read, start, size_bytes, encoding))
    if elements and elements[-1].tag == PIXEL_DATA:
        elements += top_level_elements(read, elements[-1].offset, size_bytes, encoding)
    return elements


def _reader_of(content: bytes) -> ReadAt:
    return lambda offset, count: content[offset : offset + count]


def _encoding(first_bytes: bytes, syntax: str) -> Encoding:
    """How the dataset is written; files that are explicit or implicit against their own word are common."""
    if syntax == ExplicitVRBigEndian:
        return Encoding(True, ">")
    vr = first_bytes[4:6]
    return EXPLICIT_LITTLE if vr.isalpha() and vr.isupper() else IMPLICIT_LITTLE


def _dataset(
    read: ReadAt, start: int, size_bytes: int, encoding: Encoding, keywords: tuple[str, ...]
) -> tuple[Attributes, PixelPlace | None]:
    wanted = tags_of(keywords)
    raw = {}
    place = None
    for element in top_level_elements(read, start, size_bytes, encoding, wanted):
        if element.tag == PIXEL_DATA:
            place = _pixel_place(read, element, size_bytes)
        else:
            raw[wanted[element.tag]] = element.vr, value_of(read, element)
    return Attributes(raw, encoding), place


def _pixel_place(read: ReadAt, element: Element, size_bytes: int) -> PixelPlace:
    if element.length_bytes == UNDEFINED_LENGTH:
        return PixelPlace(element.offset, None, fragments_are_whole(read, element.offset, size_bytes))
    is_whole = element.offset + element.length_bytes <= size_bytes
    return PixelPlace(element.offset, element.length_bytes, is_whole)

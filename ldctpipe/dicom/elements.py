"""The top-level elements of a DICOM file (PS3.5 §7) as raw bytes, and where its pixel data lie.

pydicom parses whole datasets, and does so where this program writes them. Discovery wants 45 elements of files that
have some 150 beside private ones and sequences. There pydicom takes six times as long as this walk, which was half of
the time that a CT series takes from disk to HU (`benchmarks/ingest.py --headers` measures both). The tests hold every
value that the walk finds against pydicom's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ldctpipe.dicom.rejection import DAMAGED, Rejected

# Returns at most that many bytes from an offset on, fewer only at the end of the content.
ReadAt = Callable[[int, int], bytes]

PIXEL_DATA = 0x7FE00010
EVERY_TAG = range(1 << 32)
UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITER_GROUP = 0xFFFE
_SHORT_HEAD_BYTES, _LONG_HEAD_BYTES = 8, 12
_WITH_LONG_LENGTH = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_WINDOW_BYTES = 1 << 15
# Far beyond what CT images have; what has more would only keep the reader busy.
_MOST_ELEMENTS = _MOST_FRAGMENTS = 1 << 20
DEEPEST_NESTING = 64


@dataclass(frozen=True)
class Encoding:
    """How elements are written: with or without their VR, `order` "<" for little and ">" for big endian."""

    is_explicit: bool
    order: str = "<"


EXPLICIT_LITTLE, IMPLICIT_LITTLE = Encoding(True), Encoding(False)


class Element(NamedTuple):
    """One top-level element: its VR (empty where not written) and where its value lies, delimiters left out."""

    tag: int
    vr: bytes
    offset: int
    length_bytes: int


def top_level_elements(
    read: ReadAt, start: int, size_bytes: int, encoding: Encoding, wanted: Container[int] = EVERY_TAG
) -> Iterator[Element]:
    """Yield the `wanted` elements from offset `start` on that lie whole within `size_bytes`, and PixelData as the last.

    PixelData comes with the length that the file claims, whether or not the file is that long. Elements without VR
    among explicit ones are taken as pydicom takes them. Raises `Rejected` for delimiters in wrong places, and for
    nesting or numbers of elements that no image has.
    """
    window, base, position = b"", start, start
    # Sequences of undefined length around `position`: tag, VR, where the value starts, whether VRs stand outside of it.
    around: list[tuple[int, bytes, int, bool]] = []
    long_at = struct.Struct(encoding.order + "L").unpack_from
    head_at = struct.Struct(encoding.order + "HH2sH").unpack_from
    is_explicit = encoding.is_explicit
    for _ in range(_MOST_ELEMENTS):
        index = position - base
        if index + _LONG_HEAD_BYTES > len(window):
            window, base, index = read(position, _WINDOW_BYTES), position, 0
            if len(window) < _SHORT_HEAD_BYTES:
                return
            if len(window) < _LONG_HEAD_BYTES:
                window += bytes(_LONG_HEAD_BYTES)
        group, number, vr, length_bytes = head_at(window, index)
        tag = group << 16 | number
        value = position + _SHORT_HEAD_BYTES
        if group == _DELIMITER_GROUP:
            length_bytes = long_at(window, index + 4)[0]
            if not around:
                raise Rejected(DAMAGED)
            if tag == _SEQUENCE_END:
                outer_tag, outer_vr, outer_value, is_explicit = around.pop()
                if not around and outer_tag in wanted:
                    yield Element(outer_tag, outer_vr, outer_value, position - outer_value)
            elif tag == _ITEM and length_bytes != UNDEFINED_LENGTH:
                value += length_bytes
            position = value
            continue
        if is_explicit and vr in _WITH_LONG_LENGTH:
            length_bytes = long_at(window, index + _SHORT_HEAD_BYTES)[0]
            value = position + _LONG_HEAD_BYTES
        elif not (is_explicit and b"AA" <= vr <= b"ZZ"):
            length_bytes = long_at(window, index + 4)[0]
            vr = b""
        if tag == PIXEL_DATA and not around:
            yield Element(tag, vr, value, length_bytes)
            return
        if length_bytes == UNDEFINED_LENGTH:
            if len(around) == DEEPEST_NESTING:
                raise Rejected(DAMAGED)
            around.append((tag, vr, value, is_explicit))
            is_explicit = is_explicit and vr != b"UN"  # PS3.5 §6.2.2: a sequence of unknown VR is written without VRs
            position = value
            continue
        position = value + length_bytes
        if position > size_bytes:
            return
        if not around and tag in wanted:
            yield Element(tag, vr, value, length_bytes)
    raise Rejected(DAMAGED)


def fragments_are_whole(read: ReadAt, offset: int, size_bytes: int) -> bool:
    """Tell whether the fragments of encapsulated pixel data (PS3.5 §A.4) that start at `offset` end within the file."""
    for _ in range(_MOST_FRAGMENTS):
        head = read(offset, _SHORT_HEAD_BYTES)
        if len(head) < _SHORT_HEAD_BYTES:
            return False
        group, number, length_bytes = struct.unpack("<HHL", head)
        if group << 16 | number == _SEQUENCE_END:
            return True
        offset += _SHORT_HEAD_BYTES + length_bytes
        if group << 16 | number != _ITEM or offset > size_bytes:
            return False
    return False

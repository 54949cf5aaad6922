"""Damage to DICOM files: bytes, and elements with their tags, types, lengths and values. Works on bytes alone.

Every mutation takes a `random.Random` and the content of a file, and returns other content. A seeded generator makes
the same damage every time; the one of `hypothesis.strategies.randoms` makes damage that hypothesis can shrink.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from random import Random

import pydicom
from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

Mutation = Callable[[Random, bytes], bytes]

_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT_VRS = [b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"PN", b"SH", b"SL", b"SS"]
_VRS = [*sorted(_LONG_VRS), *_SHORT_VRS, b"ST", b"TM", b"UI", b"UL", b"US", b"??", b"\0\0"]
_PIXEL_DATA = 0x7FE00010
_UNDEFINED = 0xFFFFFFFF
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
_LENGTHS = [0, 1, 2, 3, 7, 0xFFFE, 0xFFFF, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, _UNDEFINED]
_SYNTAXES = [
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    "1.2.3.4",
    "",
]
HOSTILE_VALUES = [
    b"",
    b"\0\0",
    b"0 ",
    b"-1",
    b"NaN ",
    b"inf ",
    b"-inf",
    b"1e999 ",
    b"1e308 ",
    b"1e-308",
    b"abc ",
    b"1\\",
    b"\\" * 20,
    b"1\\2\\3\\4\\5\\6",
    b"0\\0\\0\\0\\0\\0 ",
    b"NaN\\NaN\\NaN ",
    b"1e300\\1e300\\1e300 ",
    b"../../x ",
    b"<script>alert(1)</script> ",
    b"\xff" * 8,
    b"\x00\x80",
    b"\xff\xff",
    b"\x1b$B\x1b[2J",
    "é\U0001f480ß".encode() + b" ",
    b"1.2.840.10008.5.1.4.1.1.2.1\0",
    b"9" * 400,
    b"ISO_IR 192",
    b"no such set ",
]
_ATTRIBUTES = [
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "DerivationCodeSequence",
    "HighBit",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "Rows",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SpecificCharacterSet",
]


@dataclass(frozen=True)
class Parts:
    """A DICOM file taken apart: `head` is preamble and file meta, `elements` the top level of the dataset."""

    head: bytes
    syntax: str
    elements: tuple[bytes, ...]

    @property
    def is_implicit(self) -> bool:
        """Whether elements carry no VR."""
        return self.syntax == ImplicitVRLittleEndian

    @property
    def order(self) -> str:
        """Byte order as `struct` has it."""
        return ">" if self.syntax == ExplicitVRBigEndian else "<"

    def joined(self) -> bytes:
        """Return the file again."""
        body = b"".join(self.elements)
        if self.syntax == DeflatedExplicitVRLittleEndian:
            deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            body = deflater.compress(body) + deflater.flush()
        return self.head + body

    def layout(self, element: bytes) -> tuple[int, str]:
        """Return where the length of an element stands, and its format; its value begins right behind."""
        if self.is_implicit:
            return 4, self.order + "L"
        return (8, self.order + "L") if element[4:6] in _LONG_VRS else (6, self.order + "H")

    def element(self, tag: int, vr: bytes, value: bytes) -> bytes:
        """Return an element in this file's encoding."""
        start = struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)
        if self.is_implicit:
            return start + struct.pack("<L", len(value)) + value
        if vr in _LONG_VRS:
            return start + vr + b"\0\0" + struct.pack(self.order + "L", len(value)) + value
        return start + vr + struct.pack(self.order + "H", len(value) & 0xFFFF) + value

    def tag(self, element: bytes) -> int:
        """Return the tag of an element."""
        group, number = struct.unpack(self.order + "HH", element[:4])
        return int(group << 16 | number)


def parts_of(content: bytes) -> Parts:
    """Return a whole, sound DICOM file taken apart, so that `parts_of(content).joined()` holds the same elements."""
    meta = pydicom.dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=[]).file_meta
    end = 144 + int(meta.FileMetaInformationGroupLength)
    body = content[end:]
    if meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        body = zlib.decompress(body, -zlib.MAX_WBITS)
    whole = Parts(content[:end], str(meta.TransferSyntaxUID), ())
    elements = []
    while body:
        length = _element_bytes(whole, body)
        elements.append(body[:length])
        body = body[length:]
    return replace(whole, elements=tuple(elements))


def _element_bytes(parts: Parts, body: bytes) -> int:
    place, form = parts.layout(body)
    value_at = place + struct.calcsize(form)
    length = struct.unpack(form, body[place:value_at])[0]
    if length != _UNDEFINED:
        return int(value_at + length)
    if parts.tag(body) != _PIXEL_DATA:
        return body.index(_SEQUENCE_END, value_at) + len(_SEQUENCE_END)
    while body[value_at : value_at + 8] != _SEQUENCE_END:
        value_at += 8 + struct.unpack("<L", body[value_at + 4 : value_at + 8])[0]
    return value_at + 8


def _place(random: Random, content: bytes) -> int:
    """A byte, mostly of the header, where more depends on it."""
    return random.randrange(len(content) if random.random() < 0.3 else min(len(content), 4096))


def flipped_bits(random: Random, content: bytes) -> bytes:
    """Return `content` with up to 8 bits turned over."""
    altered = bytearray(content)
    for _ in range(random.randint(1, 8)):
        altered[_place(random, content)] ^= 1 << random.randrange(8)
    return bytes(altered)


def overwritten_run(random: Random, content: bytes) -> bytes:
    """Return `content` with up to 64 bytes in a row replaced."""
    start, length = _place(random, content), random.randint(1, 64)
    run = random.choice([b"\0", b"\xff", b"\\", b"A"]) * length if random.random() < 0.5 else random.randbytes(length)
    return content[:start] + run + content[start + length :]


def cut(random: Random, content: bytes) -> bytes:
    """Return the beginning of `content`."""
    return content[: _place(random, content)]


def lost_run(random: Random, content: bytes) -> bytes:
    """Return `content` without up to 64 bytes in a row."""
    start = _place(random, content)
    return content[:start] + content[start + random.randint(1, 64) :]


def doubled_run(random: Random, content: bytes) -> bytes:
    """Return `content` with up to 4,096 bytes in a row there twice."""
    start = _place(random, content)
    run = content[start : start + random.randint(1, 4096)]
    return content[:start] + run + content[start:]


def appended(random: Random, content: bytes) -> bytes:
    """Return `content` with bytes behind its end."""
    return content + random.randbytes(random.randint(1, 512))


def _with_element(random: Random, content: bytes, change: Callable[[Parts, bytes], bytes]) -> bytes:
    """One element, mostly one that decides about the image, replaced by what `change` makes of it."""
    parts = parts_of(content)
    keywords = {tag_for_keyword(keyword) for keyword in _ATTRIBUTES} | {_PIXEL_DATA}
    weighty = [i for i, element in enumerate(parts.elements) if parts.tag(element) in keywords]
    chosen = random.choice(weighty) if weighty and random.random() < 0.7 else random.randrange(len(parts.elements))
    altered = change(parts, parts.elements[chosen])
    return replace(parts, elements=(*parts.elements[:chosen], altered, *parts.elements[chosen + 1 :])).joined()


def other_length(random: Random, content: bytes) -> bytes:
    """Return `content` with an element whose length is a lie."""

    def change(parts: Parts, element: bytes) -> bytes:
        place, form = parts.layout(element)
        size = struct.calcsize(form)
        told = struct.unpack(form, element[place : place + size])[0]
        lie = random.choice([*_LENGTHS, told + 1, told + 2, max(told - 1, 0), max(told - 2, 0)])
        return element[:place] + struct.pack(form, lie % (1 << 8 * size)) + element[place + size :]

    return _with_element(random, content, change)


def other_vr(random: Random, content: bytes) -> bytes:
    """Return `content` with an element of another type."""
    return _with_element(random, content, lambda _, element: element[:4] + random.choice(_VRS) + element[6:])


def other_tag(random: Random, content: bytes) -> bytes:
    """Return `content` with an element that claims to be another."""

    def change(parts: Parts, element: bytes) -> bytes:
        tag = random.choice([tag_for_keyword(random.choice(_ATTRIBUTES)), _PIXEL_DATA, 0xFFFEE000, 0xFFFEE0DD, 0x20010])
        return struct.pack(parts.order + "HH", tag >> 16, tag & 0xFFFF) + element[4:]

    return _with_element(random, content, change)


def hostile_value(random: Random, content: bytes) -> bytes:
    """Return `content` with an element of another value, its length right."""

    def change(parts: Parts, element: bytes) -> bytes:
        value = random.choice(HOSTILE_VALUES)
        return parts.element(parts.tag(element), element[4:6], value)

    return _with_element(random, content, change)


def hostile_attribute(random: Random, content: bytes) -> bytes:
    """Return `content` with one more attribute that decides about the image, in its place by tag."""
    parts = parts_of(content)
    tag = tag_for_keyword(random.choice(_ATTRIBUTES)) or 0
    vr = random.choice(_VRS)
    element = parts.element(tag, vr, random.choice(HOSTILE_VALUES))
    elements = sorted([*parts.elements, element], key=parts.tag)
    return replace(parts, elements=tuple(elements)).joined()


def removed_element(random: Random, content: bytes) -> bytes:
    """Return `content` without an element."""
    return _with_element(random, content, lambda *_: b"")


def doubled_element(random: Random, content: bytes) -> bytes:
    """Return `content` with an element there twice."""
    return _with_element(random, content, lambda _, element: element * 2)


def reordered(random: Random, content: bytes) -> bytes:
    """Return `content` with its elements in another order."""
    parts = parts_of(content)
    elements = list(parts.elements)
    random.shuffle(elements)
    return replace(parts, elements=tuple(elements)).joined()


def nested_sequence(random: Random, content: bytes) -> bytes:
    """Return `content` with sequences of undefined length in each other, closed or not."""
    depth = random.choice([1, 2, 50, 500, 2000])
    is_closed = random.random() < 0.7

    def change(parts: Parts, element: bytes) -> bytes:
        return sequences(parts, depth, is_closed) + element

    return _with_element(random, content, change)


def sequences(parts: Parts, depth: int, is_closed: bool = True) -> bytes:
    """Return a SourceImageSequence of undefined length with `depth` sequences in each other."""
    start = struct.pack(parts.order + "HH", 0x0008, 0x2112) + (b"" if parts.is_implicit else b"SQ\0\0") + b"\xff" * 4
    item = struct.pack(parts.order + "HH", 0xFFFE, 0xE000) + b"\xff" * 4
    ends = struct.pack(parts.order + "HHL", 0xFFFE, 0xE00D, 0) + struct.pack(parts.order + "HHL", 0xFFFE, 0xE0DD, 0)
    return (start + item) * depth + (ends * depth if is_closed else b"")


def other_syntax(random: Random, content: bytes) -> bytes:
    """Return `content` under another transfer syntax UID than it is written in."""
    return with_syntax(content, str(random.choice(_SYNTAXES)))


def with_syntax(content: bytes, uid: str) -> bytes:
    """Return `content` with `uid` as its transfer syntax and all lengths right."""
    parts = parts_of(content)
    old = struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", len(parts.syntax) + len(parts.syntax) % 2)
    at = parts.head.index(old)
    value = uid.encode() + b"\0" * (len(uid) % 2)
    new = struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", len(value)) + value
    meta = parts.head[144:at] + new + parts.head[at + len(old) + len(parts.syntax) + len(parts.syntax) % 2 :]
    head = parts.head[:140] + struct.pack("<L", len(meta)) + meta
    return head + content[len(parts.head) :]


def with_attribute(content: bytes, keyword: str, value: bytes | None, vr: str = "") -> bytes:
    """Return `content` with the bytes of one attribute replaced or added in its place; None removes it."""
    parts = parts_of(content)
    tag = tag_for_keyword(keyword) or 0
    rest = [element for element in parts.elements if parts.tag(element) != tag]
    if value is not None:
        rest.append(parts.element(tag, (vr or dictionary_VR(tag))[:2].encode(), value + b" " * (len(value) % 2)))
    return replace(parts, elements=tuple(sorted(rest, key=parts.tag))).joined()


def hostile_dictionary_attribute(random: Random, content: bytes) -> bytes:
    """Return `content` with any attribute that the standard has, holding a hostile value."""
    parts = parts_of(content)
    keyword = random.choice(sorted(keyword_dict))
    element = parts.element(tag_for_keyword(keyword) or 0, random.choice(_VRS), random.choice(HOSTILE_VALUES))
    return replace(parts, elements=tuple(sorted([*parts.elements, element], key=parts.tag))).joined()


BYTE_MUTATIONS: list[Mutation] = [flipped_bits, overwritten_run, cut, lost_run, doubled_run, appended]
ELEMENT_MUTATIONS: list[Mutation] = [
    other_length,
    other_vr,
    other_tag,
    hostile_value,
    hostile_attribute,
    hostile_dictionary_attribute,
    removed_element,
    doubled_element,
    reordered,
    nested_sequence,
    other_syntax,
]


def mutated(random: Random, content: bytes) -> bytes:
    """Return a sound file damaged by one change to its elements, its bytes, or both."""
    kind = random.random()
    if kind < 0.75:
        content = random.choice(ELEMENT_MUTATIONS)(random, content)
    if kind >= 0.6 and content:
        content = random.choice(BYTE_MUTATIONS)(random, content)
    return content

"""Values of DICOM attributes from their raw bytes (PS3.5 §6.2): text, numbers, vectors."""

from __future__ import annotations

import functools
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.values import convert_SQ

from ldctpipe.dicom.elements import Encoding
from ldctpipe.dicom.rejection import DAMAGED, Rejected

_BINARY_CODES = {b"US": "H", b"SS": "h", b"UL": "L", b"SL": "l", b"FL": "f", b"FD": "d", b"UV": "Q", b"SV": "q"}
_OF_CHARACTER_SET = frozenset((b"LO", b"LT", b"PN", b"SH", b"ST", b"UC", b"UT"))
_TEXT_DELIMITERS = set(b"\\\t\n\f\r")  # each ends what a code extension switched to (PS3.5 §6.1.2.5.3)
_ESCAPE = b"\x1b"
_SINGLE_TEXTS = (b"LT", b"ST", b"UR", b"UT")  # where a backslash is text (PS3.5 §6.2)
_PADDING_CHARACTERS = "\0 "


# OverlayBitPosition of each overlay plane (PS3.5 §7.6): pydicom has no keywords for repeating groups.
OVERLAY_BIT_POSITIONS = tuple(f"OverlayBitPosition{plane}" for plane in range(16))
_OVERLAY_TAGS = {keyword: 0x60000102 + (plane << 17) for plane, keyword in enumerate(OVERLAY_BIT_POSITIONS)}
# PS3.5 §6.2, DS; Python's float takes more ("1_0", "nan", digits of other scripts), which no DICOM reader may.
_DECIMAL = re.compile(rb"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")


@functools.cache
def tags_of(keywords: tuple[str, ...]) -> Mapping[int, str]:
    """Return the keyword of each tag of `keywords` (PS3.6)."""
    return {tag: keyword for keyword in keywords if (tag := _tag_of(keyword)) is not None}


def _tag_of(keyword: str) -> int | None:
    return _OVERLAY_TAGS[keyword] if keyword in _OVERLAY_TAGS else tag_for_keyword(keyword)


def _decimal(text: bytes) -> bytes:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return match[1]


@functools.cache
def _dictionary_vr(keyword: str) -> bytes:
    tag = _tag_of(keyword)
    return dictionary_VR(tag)[:2].encode() if tag is not None else b""  # "US or SS" counts as US


@dataclass(frozen=True)
class Attributes:
    """Attributes of one dataset by keyword, kept as (VR, bytes) and converted when asked for.

    What can't be converted is answered like what is not there: nothing here raises but `codes`.
    """

    raw: Mapping[str, tuple[bytes, bytes]] = field(repr=False)
    encoding: Encoding

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.raw

    def text(self, keyword: str) -> str:
        """Return the value as text without the padding at its ends; several values stay divided by backslashes."""
        vr, content = self._vr_and_bytes(keyword)
        if vr in _BINARY_CODES:
            return "\\".join(str(number) for number in self._binary(vr, content))
        if content.isascii() and _ESCAPE not in content:
            return content.decode("ascii").strip(_PADDING_CHARACTERS)
        return self._decoded(vr, content).strip(_PADDING_CHARACTERS)

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return each of several values as text without padding; none where the value is empty."""
        text = self.text(keyword)
        if text and self._vr_and_bytes(keyword)[0] in _SINGLE_TEXTS:
            return (text,)
        return tuple(value.strip(_PADDING_CHARACTERS) for value in text.split("\\")) if text else ()

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Return all values as finite numbers, or none at all where one of them is no such number."""
        vr, content = self._vr_and_bytes(keyword)
        try:
            is_binary = vr in _BINARY_CODES
            values = self._binary(vr, content) if is_binary else map(_decimal, content.rstrip(b"\0").split(b"\\"))
            numbers = tuple(float(value) for value in values)
        except (ValueError, OverflowError):
            return ()
        return numbers if all(map(math.isfinite, numbers)) else ()

    def number(self, keyword: str) -> float | None:
        """Return the one value as a finite number, or None where there is no such number, or several."""
        numbers = self.numbers(keyword)
        return numbers[0] if len(numbers) == 1 else None

    def whole_number(self, keyword: str) -> int | None:
        """Return the one value as a whole number, or None where it is none."""
        number = self.number(keyword)
        return int(number) if number is not None and number.is_integer() else None

    def codes(self, keyword: str) -> set[tuple[str, str]]:
        """Return (coding scheme, code value) of each item of a code sequence (PS3.3 §8.8).

        Raises `Rejected` where the sequence can't be parsed.
        """
        return {(scheme, value) for scheme, value in self._items(keyword, "CodingSchemeDesignator", "CodeValue")}

    def texts_of_items(self, sequence: str, keyword: str) -> set[str]:
        """Return the value of `keyword` in each item of a sequence; none where the sequence can't be parsed."""
        try:
            return {value for (value,) in self._items(sequence, keyword)}
        except Rejected:
            return set()

    def _items(self, sequence: str, *keywords: str) -> list[tuple[str, ...]]:
        vr, content = self.raw.get(sequence, (b"", b""))
        is_implicit = vr == b"UN" or not self.encoding.is_explicit
        try:
            items = convert_SQ(content, is_implicit, self.encoding.order == "<")
            return [tuple(str(item.get(keyword)) for keyword in keywords) for item in items]
        except Exception:  # noqa: BLE001 - a parser of foreign bytes fails in any way there is
            raise Rejected(DAMAGED) from None

    def _vr_and_bytes(self, keyword: str) -> tuple[bytes, bytes]:
        vr, content = self.raw.get(keyword, (b"", b""))
        return (vr, content) if vr and vr != b"UN" else (_dictionary_vr(keyword), content)

    def _binary(self, vr: bytes, content: bytes) -> tuple[float, ...]:
        code = _BINARY_CODES[vr]
        count = len(content) // struct.calcsize(f"={code}")
        return struct.unpack_from(f"{self.encoding.order}{count}{code}", content)

    def _decoded(self, vr: bytes, content: bytes) -> str:
        """Text beyond ASCII, by SpecificCharacterSet where the VR follows it."""
        if vr not in _OF_CHARACTER_SET:
            return content.decode("latin-1")
        names = self.raw.get("SpecificCharacterSet", (b"", b""))[1].decode("latin-1").strip(_PADDING_CHARACTERS)
        try:
            encodings = convert_encodings([name.strip() for name in names.split("\\")])
            return decode_bytes(content, encodings, _TEXT_DELIMITERS)
        except (LookupError, ValueError, AttributeError):
            return content.decode("latin-1")

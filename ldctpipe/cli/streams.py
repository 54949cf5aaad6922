"""Standard output and error that replace characters their encoding lacks, so that printing never ends a command."""

from __future__ import annotations

import codecs
import json
import sys
from io import TextIOWrapper
from typing import Any

_HANDLER = "ldctpipe.replace"
_ESCAPED_BYTES = range(0xDC80, 0xDD00)  # how Python holds bytes of a path that are no text (PEP 383)
_STAND_INS = {
    "–": "-", "—": "-", "−": "-", "×": "x", "·": ".", "…": "...", "±": "+/-", "→": "->", "≤": "<=", "≥": ">=",
    "µ": "u", "μ": "u", "σ": "s", "²": "2", "³": "3", "“": '"', "”": '"', "‘": "'", "’": "'", "━": "=", "╌": "-",
}  # fmt: skip


def replace_unprintable() -> None:
    """Let both streams of this process print any text.

    Undecodable bytes of a path are written unchanged; a character that the encoding lacks becomes a similar one or "?".
    """
    codecs.register_error(_HANDLER, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def json_text(value: Any) -> str:
    """Return `value` as indented JSON for standard output, with JSON's own escapes if that lacks some of its signs."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=2)
    return text


def _replaced(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return b"".join(map(_bytes_of, signs)), error.end


def _bytes_of(sign: str) -> bytes:
    code = ord(sign)
    return bytes([code - 0xDC00]) if code in _ESCAPED_BYTES else _STAND_INS.get(sign, "?").encode("ascii")

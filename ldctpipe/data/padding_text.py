"""Where a slice of a training store holds no measurement, as text in the table of slices."""

from __future__ import annotations

import binascii
import zlib
from base64 import b64decode, b64encode

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def as_text(mask: Mask | None) -> str:
    """Return `mask` (rows, columns), one bit per pixel, deflated and in base 64; nothing where it marks no pixel."""
    if mask is None or not mask.any():
        return ""
    return b64encode(zlib.compress(np.packbits(mask).tobytes())).decode("ascii")


def of_text(text: str, rows: int, columns: int) -> Mask | None:
    """Return the mask (rows, columns) that `as_text` wrote; None for none. Raises `ValueError` for another text."""
    if not text:
        return None
    wanted = -(-rows * columns // 8)
    try:
        inflating = zlib.decompressobj()
        bits = inflating.decompress(b64decode(text, validate=True), wanted + 1)
    except (zlib.error, binascii.Error) as error:
        raise ValueError(str(error)) from None
    if len(bits) != wanted:
        raise ValueError(f"has padding for another size than {rows} x {columns}")
    unpacked = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=rows * columns)
    return unpacked.view(np.bool_).reshape(rows, columns)

"""Where the pixels of one CT image lie in its file, and how a stored value sits in its word."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint16]
Values = npt.NDArray[np.int32]


@dataclass(frozen=True)
class PixelFormat:
    """Where a stored value sits in its 16-bit word (PS3.5 §8.1.1)."""

    bits_stored: int
    high_bit: int
    is_signed: bool

    @property
    def shift(self) -> int:
        """Bits below the stored value."""
        return self.high_bit + 1 - self.bits_stored

    @property
    def lowest(self) -> int:
        """Smallest value that can be stored."""
        return -(1 << (self.bits_stored - 1)) if self.is_signed else 0

    @property
    def highest(self) -> int:
        """Largest value that can be stored."""
        return self.lowest + (1 << self.bits_stored) - 1

    def values(self, words: Words) -> Values:
        """Return the values stored in `words`; bits outside BitsStored (old overlays) are masked."""
        unsigned = (words.astype(np.int32) >> self.shift) & ((1 << self.bits_stored) - 1)
        sign = (1 << (self.bits_stored - 1)) if self.is_signed else 0
        return (unsigned ^ sign) - sign

    def words(self, values: Values, background: Words) -> Words:
        """Return words that store `values`, with the bits outside BitsStored taken from `background`."""
        mask = ((1 << self.bits_stored) - 1) << self.shift
        kept = background.astype(np.int32) & ~mask
        if self.is_signed and self.shift == 0:
            # Sign bits above BitsStored are an extension of the value, not an overlay.
            extended = (background.astype(np.int16) == self.values(background)) & (self.bits_stored < 16)
            kept = np.where(extended, values & 0xFFFF & ~mask, kept)
        return (kept | ((values << self.shift) & mask)).astype(np.uint16)


@dataclass(frozen=True)
class PixelSpan:
    """The pixel data of one file as discovery saw it.

    `offset` and `length_bytes` count in the file and mean something for native pixels only; `offset` is None where
    they are compressed (encapsulated, or the whole dataset deflated). `file_bytes` and `modified_ns` are the file's
    size and time of change at that moment, so that a file that changes before its pixels are read is noticed.
    """

    offset: int | None
    length_bytes: int
    transfer_syntax_uid: str
    pixel_format: PixelFormat
    file_bytes: int
    modified_ns: int

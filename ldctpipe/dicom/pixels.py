"""Where the pixels of one CT image lie in its file, and how a stored value sits in its word."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint16]
Values = npt.NDArray[np.int32]

_WORD_BITS = 16


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

    def limit(self, number: int) -> int:
        """Return the 16 bits of `number`, which an attribute says about pixels, in the sign that the pixels have."""
        word = number & 0xFFFF
        return word - 0x10000 if self.is_signed and word > 0x7FFF else word

    def values(self, words: Words) -> Values:
        """Return the values stored in `words`; bits outside BitsStored (old overlays) are masked."""
        unsigned = (words.astype(np.int32) >> self.shift) & ((1 << self.bits_stored) - 1)
        sign = (1 << (self.bits_stored - 1)) if self.is_signed else 0
        return (unsigned ^ sign) - sign

    def values_in_place(self, words: Words) -> npt.NDArray[np.int16] | npt.NDArray[np.uint16]:
        """Turn `words` into the values that they store, and return them as the 16-bit numbers that they are now."""
        numbers = words.view(np.int16) if self.is_signed else words
        if self.bits_stored < _WORD_BITS:
            np.left_shift(numbers, _WORD_BITS - 1 - self.high_bit, out=numbers)
            np.right_shift(numbers, _WORD_BITS - self.bits_stored, out=numbers)
        return numbers

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

    `offset` is where native pixels start in the file, None where they are compressed or the dataset is deflated.
    `padding` is the declared range of stored values that stand for no measurement. `overlay_bits` are the bits of a
    word in which the header places an overlay (PS3.3 §C.9.2). `file_bytes` and `modified_ns` are
    the file's size and time of change at that moment, so that a change before the pixels are read is noticed.
    """

    offset: int | None
    transfer_syntax_uid: str
    pixel_format: PixelFormat
    padding: tuple[int, int] | None
    file_bytes: int
    modified_ns: int
    overlay_bits: int = 0

    @property
    def pads_beyond_values(self) -> bool:
        """Tell whether padding may be a word that doesn't fit BitsStored, as some scanners write it."""
        return self.padding is not None and self.pixel_format.bits_stored < _WORD_BITS


def padding_range(first: int | None, last: int | None, pixel_format: PixelFormat) -> tuple[int, int] | None:
    """Return the range from PixelPaddingValue to PixelPaddingRangeLimit (PS3.3 §C.7.5.1.1.2), lower end first.

    Each is a number of the sign that the pixels have, whichever VR (US or SS) it was written with.
    """
    if first is None:
        return None
    ends = [pixel_format.limit(value) for value in (first, first if last is None else last)]
    return min(ends), max(ends)

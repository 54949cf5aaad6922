"""Compressed pixels of one file to the words that they would be if they were not compressed.

Runs in the process of `decoding_worker`, because decoders are native code and the pixels are anybody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames

from ldctpipe.dicom.codecs import CODECS, Codec, missing_codec
from ldctpipe.dicom.codestreams import FrameHeader
from ldctpipe.dicom.opening import read_whole
from ldctpipe.dicom.rejection import CUT_SHORT, Rejected, unsupported
from ldctpipe.volumes.plausibility import LARGEST_ROWS_OR_COLUMNS

_OTHER_SIZE = unsupported("compressed pixels of another size than the header says")
_OTHER_BITS = unsupported("compressed pixels with other bits or another sign than the header says")

Words = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class _Cell:
    """Where the DICOM header puts a value in its 16-bit word (PS3.5 §8.1.1), and which words are padding."""

    bits_stored: int
    high_bit: int
    is_signed: bool
    padding_words: tuple[int, ...]


def stored_words(path: Path) -> Words:
    """Return the words (rows, columns) of the one compressed image at `path` as uncompressed pixel data hold them.

    Values of BitsStored bits are shifted up to HighBit; signed ones are two's complement, extended to 16 bits. Raises
    `Rejected` where codestream and header contradict each other, and whatever the decoder raises.
    """
    dataset = read_whole(path)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if rejection := missing_codec(syntax):
        raise Rejected(rejection)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if not (0 < rows <= LARGEST_ROWS_OR_COLUMNS and 0 < columns <= LARGEST_ROWS_OR_COLUMNS):
        raise Rejected(_OTHER_SIZE)
    codec, cell, frame = CODECS[syntax], _cell(dataset), _only_frame(dataset)
    header = _header(codec, frame, FrameHeader(rows, columns, 16))
    bits = _decoded(codec, frame, header)
    return bits if codec.header is None else _words(bits, header, cell)


def _cell(dataset: FileDataset) -> _Cell:
    stored = int(dataset.BitsStored)
    high_bit = int(dataset.get("HighBit", stored - 1))
    if int(dataset.BitsAllocated) != 16 or not 0 < stored <= high_bit + 1 <= 16:
        raise Rejected(_OTHER_BITS)
    limits = (dataset.get(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    padding = tuple(limit & 0xFFFF for limit in limits if isinstance(limit, int))
    return _Cell(stored, high_bit, bool(dataset.PixelRepresentation), padding)


def _only_frame(dataset: FileDataset) -> bytes:
    """The compressed image, whose fragments may be several (PS3.5 §A.4)."""
    content = dataset.get("PixelData")
    if not content:
        raise Rejected(CUT_SHORT)
    return next(generate_frames(content, number_of_frames=1))


def _header(codec: Codec, frame: bytes, by_dicom: FrameHeader) -> FrameHeader:
    if codec.header is None:
        return by_dicom
    header = codec.header(frame)
    if (header.rows, header.columns) != (by_dicom.rows, by_dicom.columns):
        raise Rejected(_OTHER_SIZE)
    if not 2 <= header.precision <= 16:
        raise Rejected(_OTHER_BITS)
    return header


def _decoded(codec: Codec, frame: bytes, header: FrameHeader) -> Words:
    try:
        return codec.decode(frame, header)
    except ImportError:  # installed, as `missing_codec` has seen, but broken: no fault of the file
        reason = f"compressed in a way that needs the package {codec.package}, which doesn't load here"
        raise Rejected(unsupported(reason, f"install {codec.package} again")) from None


def _words(bits: Words, header: FrameHeader, cell: _Cell) -> Words:
    """Words of decoded bit patterns, where the precision of the codestream may differ from BitsStored.

    Encoders compress either values, in BitsStored bits, or whole cells with what lies above (dcmtk). Anything between
    could be read in two ways and give wrong HU, so it is refused.
    """
    bits = bits & np.uint16((1 << header.precision) - 1)
    holds_values = header.precision <= cell.bits_stored
    if not holds_values and header.precision <= cell.high_bit:
        raise Rejected(_OTHER_BITS)
    sign_is_known = header.precision >= cell.bits_stored or header.is_signed
    has_top_bit = bool((bits >> np.uint16(header.precision - 1)).any())
    if has_top_bit and (not sign_is_known if cell.is_signed else header.is_signed):
        raise Rejected(_OTHER_BITS)
    words = _sign_extended(bits, header.precision) if cell.is_signed else bits
    if holds_values:
        return words << np.uint16(cell.high_bit + 1 - cell.bits_stored)
    _refuse_values_beyond(words, cell)
    return words


def _sign_extended(bits: Words, precision: int) -> Words:
    sign = np.uint16(1 << (precision - 1))
    return (bits ^ sign) - sign  # modulo 2¹⁶, as two's complement is


def _refuse_values_beyond(words: Words, cell: _Cell) -> None:
    """Refuse whole cells whose bits above HighBit say that BitsStored is too small for the values in them."""
    above = words >> np.uint16(cell.high_bit) >> np.uint16(1)
    fits = above == 0
    if cell.is_signed:
        top_bit = (words >> np.uint16(cell.high_bit)) & np.uint16(1)
        fits |= (top_bit == 1) & (above == 0xFFFF >> cell.high_bit >> 1)
    if not np.isin(words[~fits], cell.padding_words).all():
        raise Rejected(_OTHER_BITS)

"""What compressed pixels say about themselves before anything is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ldctpipe.dicom.rejection import CUT_SHORT, DAMAGED, Rejected

_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # ITU-T T.81 table B.1, T.87 table C.1
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment
_CODESTREAM = b"\xff\x4f\xff\x51"


@dataclass(frozen=True)
class FrameHeader:
    """Size and sample format of one compressed image; only JPEG 2000 says of itself whether it `is_signed`."""

    rows: int
    columns: int
    precision: int
    is_signed: bool = False


def jpeg_header(codestream: bytes) -> FrameHeader:
    """Return the frame header of a classical JPEG or JPEG-LS image (ITU-T T.81 §B.2.2, T.87 §C.2.2).

    Raises `Rejected` where there is none or the image is not grey.
    """
    position = 2
    try:
        while True:
            mark, marker = codestream[position], codestream[position + 1]
            if mark != 0xFF:
                raise Rejected(DAMAGED)
            if marker == 0xFF:  # fill bytes may stand before a marker
                position += 1
            elif marker in _START_OF_FRAME:
                precision, rows, columns, components = struct.unpack_from(">BHHB", codestream, position + 4)
                return _grey(FrameHeader(rows, columns, precision), components)
            else:
                segment_bytes = 0 if marker in _ALONE else struct.unpack_from(">H", codestream, position + 2)[0]
                position += 2 + segment_bytes
    except (IndexError, struct.error):
        raise Rejected(CUT_SHORT) from None


def j2k_header(codestream: bytes) -> FrameHeader:
    """Return the image size of a JPEG 2000 or HTJ2K image, with or without the JP2 boxes (ITU-T T.800 §A.5.1).

    Raises `Rejected` where there is none, the image is not grey or is subsampled.
    """
    start = codestream.find(_CODESTREAM, 0, 4096)
    if start < 0:
        raise Rejected(DAMAGED)
    try:
        right, bottom, left, top = struct.unpack_from(">4L", codestream, start + 8)
        components, sample, step_x, step_y = struct.unpack_from(">HBBB", codestream, start + 40)
    except struct.error:
        raise Rejected(CUT_SHORT) from None
    if (step_x, step_y) != (1, 1):
        raise Rejected(DAMAGED)
    return _grey(FrameHeader(bottom - top, right - left, (sample & 0x7F) + 1, bool(sample & 0x80)), components)


def _grey(header: FrameHeader, components: int) -> FrameHeader:
    if components != 1:
        raise Rejected(DAMAGED)
    return header

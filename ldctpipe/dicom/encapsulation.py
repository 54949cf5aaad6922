"""Pixels losslessly compressed for a file, checked by decoding before anything is kept."""

from __future__ import annotations

from contextlib import nullcontext
from threading import Lock
from typing import Any

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder, get_encoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from ldctpipe.dicom.compression import Compression
from ldctpipe.dicom.pixels import PixelFormat, Words

_BITS_ALLOCATED, _BITS_IN_A_BYTE = 16, 8
# Named, because pydicom would otherwise take GDCM where it is installed, which aborts the process on odd image sizes.
_PLUGINS = {RLELossless: "pylibjpeg", JPEG2000Lossless: "pylibjpeg", JPEGLSLossless: "pyjpegls"}
# The encoder of pylibjpeg-openjpeg 2.6 crashes when two threads are in it.
_ONE_AT_A_TIME = Lock()


_TRANSFER_SYNTAXES = {
    Compression.NONE: ExplicitVRLittleEndian,
    Compression.RLE: RLELossless,
    Compression.JPEG_LS: JPEGLSLossless,
    Compression.JPEG_2000: JPEG2000Lossless,
    Compression.DEFLATE: DeflatedExplicitVRLittleEndian,
}


def transfer_syntax_of(compression: Compression) -> UID:
    """Return the transfer syntax of a file that is compressed so (PS3.5 annex A)."""
    return _TRANSFER_SYNTAXES[compression]


def encapsulated(words: Words, pixel_format: PixelFormat, compression: Compression) -> bytes | None:
    """Return the value of PixelData (PS3.5 §A.4) with the compressed `words`, shape (rows, columns).

    None where decoding wouldn't give the same words: JPEG-LS and JPEG 2000 hold BitsStored bits at the lower end of
    the word and nothing besides, so words with overlay bits or another HighBit can't be kept by them; and 8 bits or
    fewer would be packed as single bytes, which decoders unpack differently.
    """
    whole_words = compression is Compression.RLE
    if pixel_format.bits_stored <= _BITS_IN_A_BYTE and not whole_words:
        return None
    options: dict[str, Any] = {
        "rows": words.shape[0],
        "columns": words.shape[1],
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "bits_allocated": _BITS_ALLOCATED,
        "bits_stored": _BITS_ALLOCATED if whole_words else pixel_format.bits_stored,
        "pixel_representation": int(pixel_format.is_signed),
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    syntax = transfer_syntax_of(compression)
    plugin = _PLUGINS[syntax]
    try:
        source = _source(words, pixel_format, compression)
        with _ONE_AT_A_TIME if syntax == JPEG2000Lossless else nullcontext():
            frame = get_encoder(syntax).encode(source, encoding_plugin=plugin, **options)
        packed = encapsulate([frame], has_bot=True)
        decoded, _ = get_decoder(syntax).as_array(packed, raw=True, decoding_plugin=plugin, **options)
    except (RuntimeError, ValueError):  # how pydicom says that a codec can't take these numbers
        return None
    return packed if np.array_equal(decoded.astype(np.uint16), words) else None


def _source(words: Words, pixel_format: PixelFormat, compression: Compression) -> bytes:
    """The bytes that an encoder wants: a JPEG-LS encoder has no signs, and takes no bits above BitsStored."""
    if compression is Compression.JPEG_LS:
        words = words & np.uint16((1 << pixel_format.bits_stored) - 1)
    return words.astype("<u2").tobytes()

"""The lossless compressions in which images can be written. Only their names: the command line starts with them."""

from __future__ import annotations

from enum import Enum


class Compression(str, Enum):
    """How the pixels of written images are packed; every choice gives back the same words, to the bit."""

    NONE = "none"
    RLE = "rle"
    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg-2000"
    DEFLATE = "deflate"

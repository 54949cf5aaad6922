"""Which library decodes which compressed transfer syntax, and what is missing where none does.

Each syntax has one decoder on purpose: libraries differ in how they hand out signs and bits. All of them are made to
return bare bit patterns here, and `compressed_image` gives those their meaning. Only classical JPEG goes to GDCM;
RLE, JPEG-LS and JPEG 2000 go to the small libraries that pydicom's authors keep up.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import uid

from ldctpipe.dicom.codestreams import FrameHeader, j2k_header, jpeg_header
from ldctpipe.dicom.rejection import DAMAGED, Rejected, Rejection, unsupported

_NATIVE = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
}
# PS3.6 table A-1; identifiers below these (fragmentable video) hold the same kind of content.
_NO_IMAGES = {
    "1.2.840.10008.1.2.4.100": "video (MPEG-2)",
    "1.2.840.10008.1.2.4.101": "video (MPEG-2)",
    "1.2.840.10008.1.2.4.102": "video (MPEG-4)",
    "1.2.840.10008.1.2.4.103": "video (MPEG-4)",
    "1.2.840.10008.1.2.4.104": "video (MPEG-4)",
    "1.2.840.10008.1.2.4.105": "video (MPEG-4)",
    "1.2.840.10008.1.2.4.106": "video (MPEG-4)",
    "1.2.840.10008.1.2.4.107": "video (HEVC)",
    "1.2.840.10008.1.2.4.108": "video (HEVC)",
    "1.2.840.10008.1.2.7": "video (SMPTE ST 2110)",
    "1.2.840.10008.1.2.4.94": "pixels that lie on a JPIP server",
    "1.2.840.10008.1.2.4.95": "pixels that lie on a JPIP server",
    "1.2.840.10008.1.2.4.204": "pixels that lie on a JPIP server",
    "1.2.840.10008.1.2.4.205": "pixels that lie on a JPIP server",
    "1.2.840.10008.1.2.6": "text instead of an image",
}
_NO_DECODER = unsupported("compressed in a way that has no decoder", "export it uncompressed")
_UNKNOWN = unsupported("a transfer syntax that is not in the standard", "export it uncompressed (Explicit VR)")

Bits = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Codec:
    """How one family of transfer syntaxes is decoded.

    `header` reads what the compressed pixels say about themselves, without decoding them, or is None where they hold
    whole 16-bit words and say nothing. `decode` returns bit patterns of shape (rows, columns); it raises `Rejected` or
    whatever the library raises.
    """

    module: str
    package: str
    header: Callable[[bytes], FrameHeader] | None
    decode: Callable[[bytes, FrameHeader], Bits]


def missing_codec(transfer_syntax_uid: str) -> Rejection | None:
    """Return why images in a transfer syntax can't be decoded here, or None where they can.

    The reason names the package to install where one would do. An empty identifier counts as uncompressed, which is
    what files without file meta information are (PS3.10 §7.1).
    """
    return _missing_codec(str(transfer_syntax_uid).strip("\0 "))


@functools.cache
def _missing_codec(transfer_syntax: str) -> Rejection | None:
    if not transfer_syntax or transfer_syntax in _NATIVE:
        return None
    codec = CODECS.get(transfer_syntax)
    if codec is None:
        return _reason_for_no_codec(transfer_syntax)
    if importlib.util.find_spec(codec.module):
        return None
    reason, remedy = f"compressed in a way that needs the package {codec.package}", f"run pip install {codec.package}"
    return Rejection(reason, remedy, True, is_transient=True)  # nothing is wrong with the file


def _reason_for_no_codec(transfer_syntax: str) -> Rejection:
    for prefix, kind in _NO_IMAGES.items():
        if transfer_syntax == prefix or transfer_syntax.startswith(prefix + "."):
            return Rejection(f"holds {kind}", "give the CT image series", True)
    # A private syntax may keep its pixels in another byte order, so it is not taken for an uncompressed one.
    return _NO_DECODER if transfer_syntax.startswith("1.2.840.10008.1.2.") else _UNKNOWN


def _jpeg(codestream: bytes, header: FrameHeader) -> Bits:
    """Classical JPEG, lossless and lossy, to 16 bits; pydicom's own way to GDCM refuses the lossy ones of 12 bits."""
    import gdcm

    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(codestream)
    fragments.AddFragment(fragment)
    pixel_data = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    pixel_data.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((header.columns, header.rows, 1))
    image.SetDataElement(pixel_data)
    grey = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    # GDCM goes by the codestream; the syntax only has to be one of classical JPEG.
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(uid.JPEGLossless))))
    bits = header.precision
    image.SetPixelFormat(gdcm.PixelFormat(1, 8 if bits <= 8 else 16, bits, bits - 1, 0))
    return _bit_patterns(image.GetBuffer().encode("utf-8", "surrogateescape"), header)  # SWIG hands bytes out as text


def _jpeg_ls(codestream: bytes, header: FrameHeader) -> Bits:
    import jpeg_ls

    return _bit_patterns(jpeg_ls.decode_pixel_data(codestream)[0], header)


def _jpeg_2000(codestream: bytes, header: FrameHeader) -> Bits:
    import openjpeg

    return _bit_patterns(bytes(openjpeg.decode_pixel_data(codestream, version=2)), header)


def _rle(codestream: bytes, header: FrameHeader) -> Bits:
    from rle.utils import decode_frame

    return _bit_patterns(decode_frame(codestream, header.rows * header.columns, 16, "<"), header)


def _bit_patterns(decoded: bytes | bytearray, header: FrameHeader) -> Bits:
    """Little-endian samples of one or two bytes as an array."""
    sample = np.dtype("u1") if header.precision <= 8 else np.dtype("<u2")
    count = header.rows * header.columns
    if len(decoded) not in (count * sample.itemsize, count * sample.itemsize + 1):  # fragments have even lengths
        raise Rejected(DAMAGED)
    return np.frombuffer(decoded, sample, count).reshape(header.rows, header.columns).astype(np.uint16)


_JPEG = Codec("gdcm", "python-gdcm", jpeg_header, _jpeg)
_JPEG_LS = Codec("jpeg_ls", "pyjpegls", jpeg_header, _jpeg_ls)
_JPEG_2000 = Codec("openjpeg", "pylibjpeg-openjpeg", j2k_header, _jpeg_2000)

CODECS: dict[str, Codec] = {
    "1.2.840.10008.1.2.1.98": Codec("numpy", "numpy", None, _bit_patterns),  # encapsulated, but not compressed
    str(uid.JPEGBaseline8Bit): _JPEG,
    str(uid.JPEGExtended12Bit): _JPEG,
    "1.2.840.10008.1.2.4.53": _JPEG,  # spectral selection and full progression: retired, still in old archives
    "1.2.840.10008.1.2.4.55": _JPEG,
    str(uid.JPEGLossless): _JPEG,
    str(uid.JPEGLosslessSV1): _JPEG,
    str(uid.JPEGLSLossless): _JPEG_LS,
    str(uid.JPEGLSNearLossless): _JPEG_LS,
    str(uid.JPEG2000Lossless): _JPEG_2000,
    str(uid.JPEG2000): _JPEG_2000,
    str(uid.HTJ2KLossless): _JPEG_2000,
    str(uid.HTJ2KLosslessRPCL): _JPEG_2000,
    str(uid.HTJ2K): _JPEG_2000,
    str(uid.RLELossless): Codec("rle", "pylibjpeg-rle", None, _rle),
}

"""Which files hold a CT image whose pixels can be read, going by their headers."""

from __future__ import annotations

import re

from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from ldctpipe.dicom.attributes import Attributes
from ldctpipe.dicom.pixels import PixelFormat
from ldctpipe.dicom.rejection import (
    CUT_SHORT,
    DAMAGED,
    LOCALIZER,
    MULTI_FRAME,
    NO_PIXELS,
    PROJECTION,
    SCREEN,
    WRONG_LENGTH,
    Rejected,
    Rejection,
    not_ct,
    unsupported,
)
from ldctpipe.dicom.scanning import PixelPlace, Scan
from ldctpipe.volumes.plausibility import LARGEST_ROWS_OR_COLUMNS

DIRECTORY = Rejection("a DICOMDIR, which holds no image", "give the folder that it lies in", False)

_PRIVATE_HEADERS = (0x0029,)  # Siemens keeps large headers there (CSA)
_SMALLEST_PRIVATE_BYTES = 1024
_PIXELS_A_PRIVATE_BYTE = 16  # 32-fold is more than any lossless compression reaches on CT
_LOCALIZER_WORDS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW"}
# Images other than mean attenuation in a slice, by vendors' words in ImageType ("MIP", "CT_SOM5 MIP", "MIN IP", "VRT").
# The average of a slab is a thicker slice, and so is a reformat in another plane; both are read.
_PROJECTION = re.compile(
    r"(?<![A-Z])((T|SLAB|THIN|THICK|CURVED|MPR)?(MIP|MINIP|MAXIP)S?|M(AX|IN)[ _-]?IP|M(AX|IN)IMUM|PROJECTION|"
    r"VRT?|VOLUME[ _-]?RENDER(ED|ING)|SSD|SHADED[ _-]?SURFACE|RAY[ _-]?SUM|DRR)(?![A-Z])"
)
_SCREEN = re.compile(
    r"(?<![A-Z])(SCREEN[ _-]?(SAVE|SHOT|CAPTURE)|DOSE[ _-]?(INFO|REPORT)|EXAM[ _-]?SUMMARY|PROT)(?![A-Z])"
)


def refuse_other_objects(found: Scan) -> None:
    """Raise `Rejected` where a file holds something else than an axial CT image, or several of them."""
    given = found.attributes
    sop_class = UID(given.text("SOPClassUID"))
    if sop_class in (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage):
        raise Rejected(MULTI_FRAME)
    if found.meta.text("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise Rejected(DIRECTORY)
    if not sop_class:
        promised = found.meta.text("MediaStorageSOPClassUID")
        raise Rejected(DAMAGED if not promised else CUT_SHORT if promised == CTImageStorage else _other_class(promised))
    if sop_class != CTImageStorage:
        raise Rejected(_other_class(sop_class))
    if given.text("Modality") not in ("CT", ""):
        raise Rejected(not_ct("another modality under the CT class"))
    words = [word.upper() for word in given.texts("ImageType")]
    if not _LOCALIZER_WORDS.isdisjoint(words):
        raise Rejected(LOCALIZER)
    if any(map(_SCREEN.search, words)):
        raise Rejected(SCREEN)
    if any(map(_PROJECTION.search, words)):
        raise Rejected(PROJECTION)


def _other_class(uid: str) -> Rejection:
    name = UID(uid).name
    return not_ct(name if name != uid else "private object")


def whole_pixels(found: Scan) -> PixelPlace:
    """Return where the pixel data lie; raises `Rejected` where there are none, or the file ends before they do."""
    if found.pixels is None or found.pixels.length_bytes == 0:
        raise Rejected(_instead_of_pixels(found), found.attributes.text("SeriesInstanceUID"))
    if not found.pixels.is_whole or "Rows" not in found.attributes:
        raise Rejected(CUT_SHORT, found.attributes.text("SeriesInstanceUID"))
    return found.pixels


def _instead_of_pixels(found: Scan) -> Rejection:
    """Vendors with a proprietary compression (ELSCINT1, old GE and Philips) keep pixels in a private element."""
    if found.ends_early:
        return CUT_SHORT
    private = found.largest_private
    if private is None or private.tag >> 16 in _PRIVATE_HEADERS:
        return NO_PIXELS
    pixels = (found.attributes.number("Rows") or 0) * (found.attributes.number("Columns") or 0)
    if private.length_bytes < max(_SMALLEST_PRIVATE_BYTES, pixels / _PIXELS_A_PRIVATE_BYTE):
        return NO_PIXELS
    where = f"({private.tag >> 16:04x},{private.tag & 0xFFFF:04x})"
    remedy = "export it from the scanner or the archive as standard DICOM, uncompressed"
    return Rejection(f"its pixels are in a private element of the vendor {where}", remedy, True)


def pixel_format_of(given: Attributes, place: PixelPlace) -> PixelFormat:
    """Return how the pixels are stored; raises `Rejected` for what is no grey image of 16 bits and bounded size."""
    photometric = given.text("PhotometricInterpretation")
    if (given.number("NumberOfFrames") or 1) > 1:
        raise Rejected(MULTI_FRAME)
    if photometric == "MONOCHROME1":
        raise Rejected(unsupported("grey scale inverted (MONOCHROME1)", "export it as MONOCHROME2"))
    if photometric != "MONOCHROME2" or given.number("SamplesPerPixel") not in (1, None):
        raise Rejected(unsupported("colour image", "give images in HU"))
    rows, columns = required(given, "Rows"), required(given, "Columns")
    if not (0 < rows <= LARGEST_ROWS_OR_COLUMNS and 0 < columns <= LARGEST_ROWS_OR_COLUMNS):
        raise Rejected(unsupported(f"image size outside 1 to {LARGEST_ROWS_OR_COLUMNS} pixels a side"))
    stored, sign = required(given, "BitsStored"), required(given, "PixelRepresentation")
    high_bit = required(given, "HighBit") if "HighBit" in given else stored - 1
    if sign not in (0, 1):
        raise Rejected(DAMAGED)
    if required(given, "BitsAllocated") != 16 or not 0 < stored <= 16 or not stored - 1 <= high_bit < 16:
        raise Rejected(unsupported("pixels not stored in 16 bits"))
    if place.length_bytes is not None:
        beyond_bytes = place.length_bytes - 2 * rows * columns
        if beyond_bytes < 0:
            raise Rejected(CUT_SHORT, given.text("SeriesInstanceUID"))
        if beyond_bytes >= 2 * min(rows, columns):  # one more row or column: one of the two numbers is a lie
            raise Rejected(WRONG_LENGTH, given.text("SeriesInstanceUID"))
    return PixelFormat(stored, high_bit, bool(sign))


def required(given: Attributes, keyword: str) -> int:
    """Return an attribute as a whole number; raises `Rejected` where it is none."""
    number = given.whole_number(keyword)
    if number is None:
        raise Rejected(DAMAGED)
    return number

"""The pixels of one CT image: stored words for reading, and with the whole dataset for writing."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from ldctpipe.dicom.decompression import decompressed
from ldctpipe.dicom.headers import Header, header_of
from ldctpipe.dicom.opening import read_whole, unreadable
from ldctpipe.dicom.padding_pixels import padding_of
from ldctpipe.dicom.pixels import PixelFormat, PixelSpan, Values, Words
from ldctpipe.dicom.rejection import CHANGED, CUT_SHORT, DAMAGED, Rejected
from ldctpipe.dicom.retyping import mend_types
from ldctpipe.errors import InputError, ReadError


@dataclass(frozen=True)
class Image:
    """One decoded image: its whole dataset, its words as stored, their values, and where they are padding."""

    dataset: FileDataset
    words: Words
    values: Values
    padding: npt.NDArray[np.bool_]
    pixel_format: PixelFormat


def decode(path: Path) -> Image:
    """Return the decoded image at `path`; its arrays have shape (rows, columns).

    Raises `InputError` where the file is damaged, cut short, or its compressed pixels can't be decoded, and `ReadError`
    where it can't be read now.
    """
    try:
        header = header_of(path)
        dataset = read_whole(path)
        mend_types(dataset)
        _require_same_image(dataset, header)
        words = np.empty((header.rows, header.columns), dtype=np.uint16)
        _fill(words, path, header.pixels)
        values = header.pixels.pixel_format.values(words)
        mask = padding_of(words, values, header.pixels, header.slope, header.intercept).mask
        padding = np.zeros(words.shape, dtype=bool) if mask is None else mask
        return Image(dataset, words, values, padding, header.pixels.pixel_format)
    except Rejected as rejected:
        raise _unusable(path, rejected) from None


def _require_same_image(dataset: FileDataset, header: Header) -> None:
    """Refuse a damaged file that pydicom reads as another image than discovery did: writing takes its attributes."""
    try:
        uids = tuple(str(dataset[keyword].value).strip("\0 ") for keyword in ("SOPInstanceUID", "SeriesInstanceUID"))
        numbers = (dataset.Rows, dataset.Columns, float(dataset.RescaleSlope), float(dataset.RescaleIntercept))
        places = tuple(map(float, dataset.ImagePositionPatient)), tuple(map(float, dataset.PixelSpacing))
        is_ct = dataset.SOPClassUID == CTImageStorage and len(dataset.ImageOrientationPatient) == 6
    except Exception:  # noqa: BLE001 - a parser of foreign bytes fails in any way there is
        raise Rejected(DAMAGED) from None
    found = uids, numbers, places, is_ct
    known = (header.sop_uid, header.series_uid), (header.rows, header.columns, header.slope, header.intercept)
    if found != (*known, (header.origin_mm, header.pixel_spacing_mm), True):
        raise Rejected(DAMAGED)


def read_words(path: Path, span: PixelSpan, words: Words) -> None:
    """Fill `words` (rows, columns) with the stored words of the image at `path`, whose pixel data `span` describes.

    Raises `InputError` where the file can't be decoded, and `ReadError` where it can't be read now or has changed in
    size or time since `span` was made.
    """
    try:
        _fill(words, path, span)
    except Rejected as rejected:
        raise _unusable(path, rejected) from None


def _fill(words: Words, path: Path, span: PixelSpan) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            _require_unchanged(os.fstat(descriptor), span)
            if span.offset is not None:
                _read_native(descriptor, span.offset, words)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Rejected(unreadable(error)) from None
    if span.offset is None:
        deflated = span.transfer_syntax_uid == DeflatedExplicitVRLittleEndian
        words[...] = _inflated_words(path, words.shape) if deflated else _decompressed_words(path, words.shape)
    elif span.transfer_syntax_uid == ExplicitVRBigEndian:
        words.byteswap(inplace=True)


def _require_unchanged(state: os.stat_result, span: PixelSpan) -> None:
    if (state.st_size, state.st_mtime_ns) != (span.file_bytes, span.modified_ns):
        raise Rejected(CHANGED)


def _read_native(descriptor: int, offset: int, words: Words) -> None:
    rest = words.data.cast("B")
    while rest:
        count = os.preadv(descriptor, [rest], offset)
        if not count:  # discovery has seen that all is there
            raise Rejected(CHANGED)
        rest, offset = rest[count:], offset + count


def _inflated_words(path: Path, shape: tuple[int, ...]) -> Words:
    content: bytes = read_whole(path).get("PixelData") or b""
    count = math.prod(shape)
    if len(content) < 2 * count:
        raise Rejected(CUT_SHORT)
    return np.frombuffer(content, dtype="<u2", count=count).astype(np.uint16).reshape(shape)


def _decompressed_words(path: Path, shape: tuple[int, ...]) -> Words:
    words = decompressed(path)
    if words.shape != shape:
        raise Rejected(DAMAGED)
    return words


def _unusable(path: Path, rejected: Rejected) -> InputError:
    rejection = rejected.rejection
    if rejection.is_transient:
        return ReadError(path, rejection.reason, rejection.remedy)
    return InputError(path, f"can't be used: {rejection.reason}", rejection.remedy)

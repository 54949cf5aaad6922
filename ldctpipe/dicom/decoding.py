"""The pixels of one CT image: stored words, stored values, padding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from ldctpipe.dicom.opening import read_whole
from ldctpipe.dicom.pixels import PixelFormat, Values, Words
from ldctpipe.dicom.rejection import CUT_SHORT, DAMAGED, Rejected
from ldctpipe.errors import InputError

_FILLED_BELOW_HU = -1500.0  # no measurement of air is this far below its −1000 HU


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

    Raises `InputError` where the file is damaged, cut short, or its compressed pixels can't be decoded.
    """
    try:
        dataset = read_whole(path)
        pixel_format = PixelFormat(
            int(dataset.BitsStored),
            int(dataset.get("HighBit", int(dataset.BitsStored) - 1)),
            bool(dataset.PixelRepresentation),
        )
        words = _words(dataset, pixel_format)
        values = pixel_format.values(words)
        return Image(dataset, words, values, _padding(dataset, words, values, pixel_format), pixel_format)
    except Rejected as rejected:
        raise InputError(path, f"can't be used: {rejected.rejection.reason}", rejected.rejection.remedy) from None


def _words(dataset: FileDataset, pixel_format: PixelFormat) -> Words:
    shape = int(dataset.Rows), int(dataset.Columns)
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)))
    if syntax.is_transfer_syntax and syntax.is_encapsulated:
        return _decompressed(dataset, shape, pixel_format)
    content: bytes = dataset.get("PixelData", b"")
    count = shape[0] * shape[1]
    if len(content) < 2 * count:
        raise Rejected(CUT_SHORT)
    stored = np.frombuffer(content, dtype=">u2" if syntax == ExplicitVRBigEndian else "<u2", count=count)
    return stored.reshape(shape).astype(np.uint16)


def _decompressed(dataset: FileDataset, shape: tuple[int, int], pixel_format: PixelFormat) -> Words:
    try:
        values = dataset.pixel_array
    except Exception:  # noqa: BLE001 - codecs of many makers, each with its own exceptions
        raise Rejected(DAMAGED) from None
    if values.shape != shape:
        raise Rejected(DAMAGED)
    return (values.astype(np.int32) << pixel_format.shift).astype(np.uint16)


def _padding(dataset: FileDataset, words: Words, values: Values, pixel_format: PixelFormat) -> npt.NDArray[np.bool_]:
    """Pixels that hold no measurement: PixelPaddingValue to PixelPaddingRangeLimit (PS3.3 §C.7.5.1.1.2)."""
    first = _padding_limit(dataset, "PixelPaddingValue", pixel_format)
    if first is None:
        return _undeclared_padding(dataset, values)
    last = _padding_limit(dataset, "PixelPaddingRangeLimit", pixel_format)
    low, high = (first, first) if last is None else sorted((first, last))
    # Some scanners pad with a word that doesn't fit BitsStored, so the word is compared as a whole too.
    whole = words.view(np.int16).astype(np.int32) if pixel_format.is_signed else words.astype(np.int32)
    return ((values >= low) & (values <= high)) | ((whole >= low) & (whole <= high))


def _undeclared_padding(dataset: FileDataset, values: Values) -> npt.NDArray[np.bool_]:
    """What lies around the reconstructed circle of scanners that fill it (Toshiba: −2048 HU) without declaring it."""
    corners = values[[0, 0, -1, -1], [0, -1, 0, -1]]
    corner_hu = float(corners[0]) * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    filled = corner_hu <= _FILLED_BELOW_HU and bool((corners == corners[0]).all())
    return values == corners[0] if filled else np.zeros(values.shape, dtype=bool)


def _padding_limit(dataset: FileDataset, keyword: str, pixel_format: PixelFormat) -> int | None:
    """The attribute as a number of the sign that the pixels have, whichever VR (US or SS) it was written with."""
    value = dataset.get(keyword)
    if isinstance(value, bytes) and len(value) == 2:
        value = int.from_bytes(value, "little")
    if not isinstance(value, int):
        return None
    if pixel_format.is_signed:
        return value - 0x10000 if value > 0x7FFF else value
    return value & 0xFFFF

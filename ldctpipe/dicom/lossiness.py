"""Whether the source of a derived image went through lossy compression, and what its header then has to say."""

from __future__ import annotations

from pydicom.dataset import FileDataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

_LOSSLESS = {
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
}
_EITHER = {JPEG2000, HTJ2K}
# Defined terms of LossyImageCompressionMethod (PS3.3 §C.7.6.1.1.5); the others are kinds of JPEG (ISO 10918-1).
_METHODS = {JPEGLSNearLossless: "ISO_14495_1", JPEG2000: "ISO_15444_1", HTJ2K: "ISO_15444_15"}
_JPEG = "ISO_10918_1"


def state_lossy_source(dataset: FileDataset) -> None:
    """Set LossyImageCompression to `01`, with ratio and method, in place, for pixels that are compressed with losses.

    Wants the dataset as it was read: file meta and PixelData of the source. What the source says of itself is kept; a
    syntax that may be either counts as lossy unless the source says `00` (PS3.3 §C.7.6.1.1.5).
    """
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    if not (syntax.is_transfer_syntax and syntax.is_encapsulated) or syntax in _LOSSLESS:
        return
    said = str(dataset.get("LossyImageCompression") or "")
    if said == "01" or (said == "00" and syntax in _EITHER):
        return
    dataset.LossyImageCompression = "01"
    if "PixelData" in dataset and not dataset.get("LossyImageCompressionRatio"):
        plain_bytes = 2 * int(dataset.Rows) * int(dataset.Columns)
        dataset.LossyImageCompressionRatio = f"{plain_bytes / max(len(dataset.PixelData), 1):.4g}"
        dataset.LossyImageCompressionMethod = _METHODS.get(syntax, _JPEG)

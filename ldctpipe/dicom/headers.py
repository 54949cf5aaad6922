"""One CT image's header, validated: the border where foreign attributes become trusted values."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
)

from ldctpipe.dicom.opening import PixelPlace, read_header
from ldctpipe.dicom.pixels import PixelFormat, PixelSpan
from ldctpipe.dicom.rejection import (
    CUT_SHORT,
    DAMAGED,
    LOCALIZER,
    MULTI_FRAME,
    Rejected,
    not_ct,
    unsupported,
)
from ldctpipe.volumes.volume import Acquisition

CODING_SCHEME = "99LDCTPIPE"
NOISE_REDUCTION_CODE = "NOISERED"

_LARGEST_ROWS_OR_COLUMNS = 4096
_HU_SPELLINGS = re.compile(r"(hu|houn?d?sfield( units?)?)?", re.IGNORECASE)
_LOCALIZER_WORDS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW"}
_CODEC_PACKAGES = {"JPEG-LS": "pyjpegls", "JPEG 2000": "pylibjpeg-openjpeg", "JPEG": "pylibjpeg-libjpeg"}

_KEYWORDS = [
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "Manufacturer",
    "ManufacturerModelName",
    "BodyPartExamined",
    "PatientPosition",
    "KVP",
    "SliceThickness",
    "XRayTubeCurrent",
    "Exposure",
    "ExposureInuAs",
    "CTDIvol",
    "GantryDetectorTilt",
    "ConvolutionKernel",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "InstanceNumber",
    "SeriesNumber",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "DerivationCodeSequence",
]


@dataclass(frozen=True, eq=False)
class Header:
    """What discovery keeps of one CT image: identity within the study, geometry in LPS mm, rescaling, acquisition."""

    path: Path
    sop_uid: str
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str | None
    patient_id: str = field(repr=False)
    series_number: int | None
    rows: int
    columns: int
    row_direction: npt.NDArray[np.float64]
    column_direction: npt.NDArray[np.float64]
    origin_mm: npt.NDArray[np.float64]
    pixel_spacing_mm: tuple[float, float]
    spacing_between_slices_mm: float | None
    slope: float
    intercept: float
    acquisition_number: str
    temporal_position: str
    is_denoised: bool
    acquisition: Acquisition
    pixels: PixelSpan

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector along which slices are ordered (PS3.3 §C.7.6.2.1.1: cross product of rows and columns)."""
        return np.cross(self.row_direction, self.column_direction)


def header_of(path: Path) -> Header:
    """Return the validated header of the CT image at `path`, or raise `Rejected` with the reason it can't be used."""
    dataset, place = read_header(path, _KEYWORDS)
    try:
        _refuse_other_objects(dataset)
        _refuse_pixel_formats(dataset)
        _refuse_missing_codec(dataset)
        return _header(path, dataset, place)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, NotImplementedError, RecursionError):
        raise Rejected(DAMAGED) from None  # a value of the wrong type: pydicom converts only when asked


def _refuse_other_objects(dataset: FileDataset) -> None:
    sop_class = UID(_text(dataset, "SOPClassUID"))
    if sop_class in (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage):
        raise Rejected(MULTI_FRAME)
    if not sop_class:
        kind = _text(dataset.file_meta, "MediaStorageSOPClassUID")
        raise Rejected(not_ct("no object class") if not kind or kind != CTImageStorage else CUT_SHORT)
    if sop_class != CTImageStorage:
        raise Rejected(not_ct(sop_class.name if sop_class.name != sop_class else "private object"))
    if _text(dataset, "Modality") not in ("CT", ""):
        raise Rejected(not_ct("another modality under the CT class"))
    if _LOCALIZER_WORDS & {word.upper() for word in _texts(dataset, "ImageType")}:
        raise Rejected(LOCALIZER)


def _refuse_pixel_formats(dataset: FileDataset) -> None:
    if "Rows" not in dataset:
        raise Rejected(CUT_SHORT)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    photometric = _text(dataset, "PhotometricInterpretation")
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if (_number(dataset, "NumberOfFrames") or 1) > 1:
        raise Rejected(MULTI_FRAME)
    if photometric == "MONOCHROME1":
        raise Rejected(unsupported("grey scale inverted (MONOCHROME1)", "export it as MONOCHROME2"))
    if photometric != "MONOCHROME2" or int(dataset.get("SamplesPerPixel", 1)) != 1:
        raise Rejected(unsupported("colour image", "give images in HU"))
    if not (0 < rows <= _LARGEST_ROWS_OR_COLUMNS and 0 < columns <= _LARGEST_ROWS_OR_COLUMNS):
        raise Rejected(unsupported(f"image size outside 1 to {_LARGEST_ROWS_OR_COLUMNS} pixels a side"))
    high_bit = int(dataset.get("HighBit", stored - 1))
    if int(dataset.PixelRepresentation) not in (0, 1):
        raise Rejected(DAMAGED)
    if allocated != 16 or not 0 < stored <= 16 or not stored - 1 <= high_bit < 16:
        raise Rejected(unsupported("pixels not stored in 16 bits"))


def _refuse_missing_codec(dataset: FileDataset) -> None:
    package = _missing_codec(_text(dataset.file_meta, "TransferSyntaxUID") or ImplicitVRLittleEndian)
    if package:
        raise Rejected(unsupported(f"compressed in a way that needs the package {package}", f"pip install {package}"))


@functools.cache
def _missing_codec(transfer_syntax: str) -> str:
    """Return the package that decodes a transfer syntax but is not installed, or nothing."""
    syntax = UID(transfer_syntax)
    if not syntax.is_transfer_syntax or not syntax.is_encapsulated:
        return ""
    try:
        if get_decoder(syntax).is_available:
            return ""
    except NotImplementedError:
        raise Rejected(unsupported("compressed in a way that has no decoder", "export it uncompressed")) from None
    return next((package for name, package in _CODEC_PACKAGES.items() if name in syntax.name), "pylibjpeg")


def _header(path: Path, dataset: FileDataset, place: PixelPlace) -> Header:
    slope, intercept = _rescaling(dataset)
    row_direction, column_direction = _directions(dataset)
    spacing = _vector(dataset, "PixelSpacing", 2)
    if spacing is None or min(spacing) <= 0:
        raise Rejected(unsupported("no pixel spacing"))
    origin = _vector(dataset, "ImagePositionPatient", 3)
    if origin is None:
        raise Rejected(unsupported("no position in the patient"))
    if not _text(dataset, "SOPInstanceUID") or not _text(dataset, "SeriesInstanceUID"):
        raise Rejected(DAMAGED)
    return Header(
        path=path,
        sop_uid=_text(dataset, "SOPInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        frame_of_reference_uid=_text(dataset, "FrameOfReferenceUID") or None,
        patient_id=_text(dataset, "PatientID"),
        series_number=_whole_number(dataset, "SeriesNumber"),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        row_direction=row_direction,
        column_direction=column_direction,
        origin_mm=origin,
        pixel_spacing_mm=(float(spacing[0]), float(spacing[1])),
        spacing_between_slices_mm=_number(dataset, "SpacingBetweenSlices"),
        slope=slope,
        intercept=intercept,
        acquisition_number=_text(dataset, "AcquisitionNumber"),
        temporal_position=_text(dataset, "TemporalPositionIdentifier"),
        is_denoised=_is_denoised(dataset),
        acquisition=_acquisition(dataset),
        pixels=_pixels(dataset, place),
    )


def _pixels(dataset: FileDataset, place: PixelPlace) -> PixelSpan:
    stored = int(dataset.BitsStored)
    pixel_format = PixelFormat(stored, int(dataset.get("HighBit", stored - 1)), bool(dataset.PixelRepresentation))
    syntax = _text(dataset.file_meta, "TransferSyntaxUID") or str(ImplicitVRLittleEndian)
    return PixelSpan(place.offset, place.length_bytes, syntax, pixel_format, place.file_bytes, place.modified_ns)


def _rescaling(dataset: FileDataset) -> tuple[float, float]:
    """Slope and intercept to HU (PS3.3 §C.11.1.1.2); a missing RescaleType means HU for CT."""
    if not _HU_SPELLINGS.fullmatch(_text(dataset, "RescaleType")):
        raise Rejected(unsupported("pixel values not in HU (RescaleType)", "give images in HU"))
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope is None or slope == 0 or intercept is None:
        raise Rejected(unsupported("no valid rescale slope and intercept, so no HU", "give images in HU"))
    return slope, intercept


def _directions(dataset: FileDataset) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    orientation = _vector(dataset, "ImageOrientationPatient", 6)
    if orientation is None:
        raise Rejected(unsupported("no orientation in the patient"))
    along_row, along_column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if not np.allclose(lengths, 1, atol=0.01) or abs(along_row @ along_column) > 0.01:
        raise Rejected(unsupported("orientation in the patient is not a right angle"))
    return along_row / lengths[0], along_column / lengths[1]


def _is_denoised(dataset: FileDataset) -> bool:
    items: Sequence[Dataset] = dataset.get("DerivationCodeSequence") or ()
    codes = {(_text(item, "CodingSchemeDesignator"), _text(item, "CodeValue")) for item in items}
    return (CODING_SCHEME, NOISE_REDUCTION_CODE) in codes


def _acquisition(dataset: FileDataset) -> Acquisition:
    return Acquisition(
        manufacturer=_text(dataset, "Manufacturer") or None,
        scanner_model=_text(dataset, "ManufacturerModelName") or None,
        kernel="/".join(_texts(dataset, "ConvolutionKernel")) or None,
        kvp=_number(dataset, "KVP"),
        slice_thickness_mm=_number(dataset, "SliceThickness"),
        tube_current_ma=(_number(dataset, "XRayTubeCurrent"),),
        exposure_mas=(_exposure_mas(dataset),),
        ctdi_vol_mgy=_number(dataset, "CTDIvol"),
        gantry_tilt_deg=_number(dataset, "GantryDetectorTilt"),
        image_type=_texts(dataset, "ImageType"),
        patient_position=_text(dataset, "PatientPosition") or None,
        body_part=_text(dataset, "BodyPartExamined") or None,
    )


def _exposure_mas(dataset: FileDataset) -> float | None:
    exposure_mas, exposure_uas = _number(dataset, "Exposure"), _number(dataset, "ExposureInuAs")
    return exposure_uas / 1000 if exposure_mas is None and exposure_uas is not None else exposure_mas


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip("\0 ")


def _texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    value = dataset.get(keyword)
    values: Any = () if value in (None, "") else (value,) if isinstance(value, str) else value
    return tuple(str(item).strip("\0 ") for item in values)


def _number(dataset: Dataset, keyword: str) -> float | None:
    """A finite number, or None where there is none or text that is no number."""
    try:
        value = float(_text(dataset, keyword))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _whole_number(dataset: Dataset, keyword: str) -> int | None:
    number = _number(dataset, keyword)
    return int(number) if number is not None and number.is_integer() else None


def _vector(dataset: Dataset, keyword: str, length: int) -> npt.NDArray[np.float64] | None:
    value = dataset.get(keyword)
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != length:
        return None
    vector = np.array([float(item) for item in value], dtype=np.float64)
    return vector if np.isfinite(vector).all() else None

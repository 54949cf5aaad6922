"""One CT image's header, validated: the border where foreign attributes become trusted values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ldctpipe.dicom.admission import pixel_format_of, refuse_other_objects, required, whole_pixels
from ldctpipe.dicom.attributes import OVERLAY_BIT_POSITIONS, Attributes
from ldctpipe.dicom.codecs import missing_codec
from ldctpipe.dicom.membership import membership_of
from ldctpipe.dicom.pixels import PixelFormat, PixelSpan, padding_range
from ldctpipe.dicom.rejection import DAMAGED, Rejected, unsupported
from ldctpipe.dicom.scanning import PixelPlace, Scan, scan
from ldctpipe.volumes.volume import Acquisition
from ldctpipe.volumes.voxel_size import pixel_size_fault

CODING_SCHEME = "99LDCTPIPE"
NOISE_REDUCTION_CODE = "NOISERED"

Vector = tuple[float, float, float]

_LARGEST_SKEW = 0.01
_LARGEST_RESCALING = 65536  # no CT scale reaches so far, and a float can still hold what comes of it
_FARTHEST_MM = 1e6  # no scanner is a kilometre wide; squares of what lies beyond can overflow
_LONGEST_LABEL = 64  # PS3.5 §6.2, VR LO
_LARGEST_COUNT = 2**31 - 1  # PS3.5 §6.2, VR IS
_HU_SPELLINGS = re.compile(r"(hu|houn?d?sfield( units?)?)?", re.IGNORECASE)
# Pixels of these can be read from the file as they are.
_NATIVE_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)

# Differ between two scans, or two reconstructions of one, where the attributes made for that are silent.
SCAN_MARKS = (
    "IrradiationEventUID",
    "SeriesTime",
    "ProtocolName",
    "ScanOptions",
    "FilterType",
    "ReconstructionDiameter",
    "ContrastBolusAgent",
    "ImageComments",
)
KEYWORDS = (
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
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentDate",
    "ContentTime",
    "InstanceNumber",
    "SeriesNumber",
    "SeriesDescription",
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
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    *OVERLAY_BIT_POSITIONS,
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "DerivationCodeSequence",
    *SCAN_MARKS,
)


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
    series_description: str = field(repr=False)
    rows: int
    columns: int
    row_direction: Vector
    column_direction: Vector
    origin_mm: Vector
    pixel_spacing_mm: tuple[float, float]
    spacing_between_slices_mm: float | None
    slope: float
    intercept: float
    acquisition_number: str
    temporal_position: str
    cardiac_phase: str
    trigger_time: str
    acquisition_date: str
    acquisition_time: str
    content_date: str
    content_time: str
    instance_number: int | None
    scan_marks: tuple[str, ...] = field(repr=False)
    is_denoised: bool
    acquisition: Acquisition
    pixels: PixelSpan

    @cached_property
    def normal(self) -> Vector:
        """Unit vector along which slices are ordered (PS3.3 §C.7.6.2.1.1: cross product of rows and columns)."""
        (x1, y1, z1), (x2, y2, z2) = self.row_direction, self.column_direction
        return y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2

    @cached_property
    def position_mm(self) -> float:
        """Distance of the slice from the origin of the frame of reference along its normal, in mm."""
        return _dot(self.origin_mm, self.normal)


def header_of(path: Path) -> Header:
    """Return the validated header of the CT image at `path`, or raise `Rejected` with the reason it can't be used."""
    found = scan(path, KEYWORDS)
    try:
        return _header(path, found)
    except Rejected as rejected:
        raise Rejected(rejected.rejection, rejected.series_uid, membership_of(found)) from None


def _header(path: Path, found: Scan) -> Header:
    refuse_other_objects(found)
    place = whole_pixels(found)
    pixel_format = pixel_format_of(found.attributes, place)
    if rejection := missing_codec(found.transfer_syntax_uid):
        raise Rejected(rejection)
    return _validated(path, found, place, pixel_format)


def _validated(path: Path, found: Scan, place: PixelPlace, pixel_format: PixelFormat) -> Header:
    given = found.attributes
    slope, intercept = _rescaling(given)
    row_direction, column_direction = _directions(given)
    spacing_mm = given.numbers("PixelSpacing")
    if len(spacing_mm) != 2 or min(spacing_mm) <= 0:
        raise Rejected(unsupported("no pixel spacing"))
    if fault := pixel_size_fault(spacing_mm, (required(given, "Rows"), required(given, "Columns"))):
        raise Rejected(unsupported(fault))
    origin_mm = given.numbers("ImagePositionPatient")
    if len(origin_mm) != 3 or max(map(abs, origin_mm)) > _FARTHEST_MM:
        raise Rejected(unsupported("no position in the patient"))
    if len(given.texts("SOPInstanceUID")) != 1 or len(given.texts("SeriesInstanceUID")) != 1:
        raise Rejected(DAMAGED)
    return Header(
        path=path,
        sop_uid=given.text("SOPInstanceUID"),
        series_uid=given.text("SeriesInstanceUID"),
        study_uid=given.text("StudyInstanceUID"),
        frame_of_reference_uid=given.text("FrameOfReferenceUID") or None,
        patient_id=given.text("PatientID"),
        series_number=_series_number(given),
        series_description=_label(given.text("SeriesDescription")) or "",
        rows=required(given, "Rows"),
        columns=required(given, "Columns"),
        row_direction=row_direction,
        column_direction=column_direction,
        origin_mm=origin_mm,
        pixel_spacing_mm=spacing_mm,
        spacing_between_slices_mm=given.number("SpacingBetweenSlices"),
        slope=slope,
        intercept=intercept,
        acquisition_number=given.text("AcquisitionNumber"),
        temporal_position=given.text("TemporalPositionIdentifier"),
        cardiac_phase=given.text("NominalPercentageOfCardiacPhase"),
        trigger_time=given.text("TriggerTime"),
        acquisition_date=given.text("AcquisitionDate"),
        acquisition_time=given.text("AcquisitionTime"),
        content_date=given.text("ContentDate"),
        content_time=given.text("ContentTime"),
        instance_number=given.whole_number("InstanceNumber"),
        scan_marks=tuple(map(given.text, SCAN_MARKS)),
        is_denoised=_is_denoised(given),
        acquisition=_acquisition(given),
        pixels=_pixel_span(found, place, pixel_format),
    )


def _pixel_span(found: Scan, place: PixelPlace, pixel_format: PixelFormat) -> PixelSpan:
    given, syntax = found.attributes, found.transfer_syntax_uid
    if (place.length_bytes is None) == (syntax in (*_NATIVE_SYNTAXES, DeflatedExplicitVRLittleEndian)):
        raise Rejected(DAMAGED)  # fragments where the syntax has none, or none where it has
    first, last = given.whole_number("PixelPaddingValue"), given.whole_number("PixelPaddingRangeLimit")
    return PixelSpan(
        offset=place.offset if syntax in _NATIVE_SYNTAXES else None,
        transfer_syntax_uid=syntax,
        pixel_format=pixel_format,
        padding=padding_range(first, last, pixel_format),
        file_bytes=found.file_bytes,
        modified_ns=found.modified_ns,
        overlay_bits=_overlay_bits(given),
    )


def _overlay_bits(given: Attributes) -> int:
    positions = (given.whole_number(keyword) for keyword in OVERLAY_BIT_POSITIONS if keyword in given)
    return sum({1 << position for position in positions if position is not None and 0 <= position < 16})


def _series_number(given: Attributes) -> int | None:
    number = given.whole_number("SeriesNumber")
    return number if number is not None and abs(number) <= _LARGEST_COUNT else None


def _rescaling(given: Attributes) -> tuple[float, float]:
    """Slope and intercept to HU (PS3.3 §C.11.1.1.2); a missing RescaleType means HU for CT."""
    if not _HU_SPELLINGS.fullmatch(given.text("RescaleType")):
        raise Rejected(unsupported("pixel values not in HU (RescaleType)", "give images in HU"))
    slope, intercept = given.number("RescaleSlope"), given.number("RescaleIntercept")
    if not slope or slope < 0 or intercept is None or max(slope, abs(intercept)) > _LARGEST_RESCALING:
        raise Rejected(unsupported("no valid rescale slope and intercept, so no HU", "give images in HU"))
    return slope, intercept


def _directions(given: Attributes) -> tuple[Vector, Vector]:
    orientation = given.numbers("ImageOrientationPatient")
    if len(orientation) != 6:
        raise Rejected(unsupported("no orientation in the patient"))
    along_row, along_column = orientation[:3], orientation[3:]
    lengths = math.hypot(*along_row), math.hypot(*along_column)
    if max(abs(length - 1) for length in lengths) > _LARGEST_SKEW or abs(_dot(along_row, along_column)) > _LARGEST_SKEW:
        raise Rejected(unsupported("orientation in the patient is not a right angle"))
    return _scaled(along_row, 1 / lengths[0]), _scaled(along_column, 1 / lengths[1])


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def _scaled(vector: Sequence[float], factor: float) -> Vector:
    x, y, z = vector
    return x * factor, y * factor, z * factor


def _is_denoised(given: Attributes) -> bool:
    keyword = "DerivationCodeSequence"
    return keyword in given and (CODING_SCHEME, NOISE_REDUCTION_CODE) in given.codes(keyword)


def _acquisition(given: Attributes) -> Acquisition:
    return Acquisition(
        manufacturer=_label(given.text("Manufacturer")),
        scanner_model=_label(given.text("ManufacturerModelName")),
        kernel=_label("/".join(given.texts("ConvolutionKernel"))),
        kvp=given.number("KVP"),
        slice_thickness_mm=given.number("SliceThickness"),
        tube_current_ma=(given.number("XRayTubeCurrent"),),
        exposure_mas=(_exposure_mas(given),),
        ctdi_vol_mgy=given.number("CTDIvol"),
        gantry_tilt_deg=given.number("GantryDetectorTilt"),
        image_type=tuple(_label(word) or "" for word in given.texts("ImageType")),
        patient_position=_label(given.text("PatientPosition")),
        body_part=_label(given.text("BodyPartExamined")),
    )


def _label(text: str) -> str | None:
    """What may be printed of a short text: terminal codes and line breaks left out, no longer than DICOM lets it be."""
    return "".join(sign for sign in text if sign.isprintable())[:_LONGEST_LABEL] or None


def _exposure_mas(given: Attributes) -> float | None:
    exposure_mas, exposure_uas = given.number("Exposure"), given.number("ExposureInuAs")
    return exposure_uas / 1000 if exposure_mas is None and exposure_uas is not None else exposure_mas

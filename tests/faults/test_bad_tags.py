"""Attributes that say nonsense: each gets its reason, or is read as the row says. Adds to what tests/dicom has."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from corpus import encoded, synthetic_series
from mutations import parts_of, sequences, with_attribute
from pydicom.uid import ExplicitVRLittleEndian
from small_dicom import PATIENT_ID, body, ct_dataset

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import InputError

(IMAGE,) = synthetic_series(ExplicitVRLittleEndian, 5, slices=1).files
HU = body(0, (36, 40)).astype(int) - 1024


def refusal_of(folder: Path, content: bytes) -> str:
    """Return why a single file is refused, by its header or when it is read."""
    (folder / "image.dcm").write_bytes(content)
    with pytest.raises(InputError) as refusal:
        (series,) = discover(folder / "image.dcm").series
        read_volume(series)
    assert PATIENT_ID not in str(refusal.value)
    assert str(refusal.value).isprintable()
    return refusal.value.fault


def hu_of(folder: Path, content: bytes) -> np.ndarray:
    (folder / "image.dcm").write_bytes(content)
    (series,) = discover(folder / "image.dcm").series
    return read_volume(series).hu[0]


def us(value: int) -> bytes:
    return struct.pack("<H", value)


SLOPE, SPACING, POSITION, ANGLE = "slope", "pixel spacing", "no position", "right angle"


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("RescaleSlope", b"inf", SLOPE),
        ("RescaleSlope", b"abc", SLOPE),
        ("RescaleSlope", b"1e999", SLOPE),
        ("RescaleSlope", b"1\\1", SLOPE),
        ("RescaleSlope", b"", SLOPE),
        ("RescaleIntercept", b"NaN", SLOPE),
        ("RescaleIntercept", b"", SLOPE),
        ("RescaleType", b"OD", "not in HU"),
        ("RescaleType", b"<script>", "not in HU"),
        ("ImageOrientationPatient", b"0\\0\\0\\0\\0\\0", ANGLE),
        ("ImageOrientationPatient", b"2\\0\\0\\0\\2\\0", ANGLE),
        ("ImageOrientationPatient", b"1\\0\\0\\0\\NaN\\0", "orientation"),
        ("ImageOrientationPatient", b"1\\0\\0\\0\\1", "orientation"),
        ("ImagePositionPatient", b"0\\0\\NaN", POSITION),
        ("ImagePositionPatient", b"0\\0", POSITION),
        ("ImagePositionPatient", b"0\\0\\1e999", POSITION),
        ("ImagePositionPatient", b"", POSITION),
        ("ImagePositionPatient", b"0\\0\\1e300", POSITION),
        ("PixelSpacing", b"1e300\\1e300", SPACING),
        ("PixelSpacing", b"-1\\-1", SPACING),
        ("PixelSpacing", b"0.5", SPACING),
        ("PixelSpacing", b"1\\1\\1", SPACING),
        ("PixelSpacing", b"NaN\\NaN", SPACING),
        ("BitsStored", us(17), "16 bits"),
        ("BitsStored", us(0), "16 bits"),
        ("HighBit", us(3), "16 bits"),
        ("HighBit", us(40), "16 bits"),
        ("SamplesPerPixel", us(3), "colour"),
        ("PhotometricInterpretation", b"PALETTE COLOR", "colour"),
        ("Rows", us(0), "image size"),
        ("Rows", us(35), "wrong length"),
        ("Columns", us(39), "wrong length"),
        ("Columns", us(4000), "cut short"),
        ("NumberOfFrames", b"2147483647", "several frames"),
        ("PixelRepresentation", us(7), "damaged"),
        ("SOPInstanceUID", b"", "damaged"),
        ("SOPInstanceUID", None, "damaged"),
        ("SOPInstanceUID", b"1.2\\1.3", "damaged"),
        ("SeriesInstanceUID", b"", "damaged"),
        ("SeriesInstanceUID", None, "damaged"),
        ("SOPClassUID", b"1.2.3", "private object"),
        ("Rows", None, "cut short"),
        ("PixelRepresentation", None, "damaged"),
        ("BitsAllocated", None, "damaged"),
        ("PixelData", None, "cut short"),
    ],
)
def test_nonsense_is_refused_with_its_reason(tmp_path: Path, keyword: str, value: bytes | None, reason: str) -> None:
    assert reason in refusal_of(tmp_path, with_attribute(IMAGE, keyword, value))


@pytest.mark.parametrize(
    ("keyword", "value", "vr"),
    [
        ("PixelSpacing", us(1) * 2, "US"),
        ("PixelSpacing", struct.pack("<d", 1.0), "FD"),
        ("Rows", b"36", "DS"),
        ("Rows", b"\0\x24", "OB"),
        ("Columns", b"\1" * 3, "US"),
        ("RescaleSlope", b"\0" * 8, "SQ"),
        ("ImageOrientationPatient", b"1\\0\\0\\0\\1\\0", "SQ"),
        ("ImageType", b"ORIGINAL\\PRIMARY", "FD"),
        ("SeriesInstanceUID", b"\xff\xff", "AT"),
        ("SpecificCharacterSet", b"\1\2\3\4", "UL"),
        ("DerivationCodeSequence", b"not a sequence", "LO"),
        ("NumberOfFrames", b"\0\0\0\0", "FL"),
    ],
)
def test_wrong_types_are_read_where_they_say_the_same_and_refused_elsewhere(
    tmp_path: Path, keyword: str, value: bytes, vr: str
) -> None:
    (tmp_path / "image.dcm").write_bytes(with_attribute(IMAGE, keyword, value, vr))
    try:
        (series,) = discover(tmp_path / "image.dcm").series
        hu = read_volume(series).hu[0]
    except InputError as refusal:
        assert str(refusal).isprintable()
    else:
        np.testing.assert_array_equal(hu, HU)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SeriesInstanceUID", b"../../etc/passwd"),
        ("SeriesInstanceUID", b"1." * 200 + b"1"),
        ("SOPInstanceUID", b"<script>alert(1)</script>"),
        ("StudyInstanceUID", None),
        ("StudyInstanceUID", b"\0\0\0\0"),
        ("FrameOfReferenceUID", b"not a UID"),
        ("PatientName", b"\x1b$B;3ED\x1b(B^\x1b$BB@O:"),
        ("SpecificCharacterSet", b"ISO 2022 IR 87\\ISO_IR 100\\no such set"),
        ("SpecificCharacterSet", b"ISO_IR 192"),
        ("ConvolutionKernel", "Wärme\U0001f480".encode()),
        ("ConvolutionKernel", b"B30f\\\\\\B40f"),
        ("ImageType", b"\\" * 30),
        ("PatientID", b"\0" * 30),
        ("KVP", b"very high"),
        ("Exposure", b"1\\2\\3"),
        ("SliceThickness", b"-3"),
        ("SliceThickness", b"1e308"),
        ("SpacingBetweenSlices", b"NaN"),
        ("SeriesNumber", b"99999999999999999999"),
        ("InstanceNumber", b"first"),
        ("PixelPaddingValue", b"\0\0\0\0\0\0"),
        ("PixelPaddingRangeLimit", us(5)),
        ("RescaleType", None),
        ("AcquisitionNumber", b"-"),
        ("Modality", None),
    ],
)
def test_odd_values_that_pixels_do_not_depend_on_change_no_hu(
    tmp_path: Path, keyword: str, value: bytes | None
) -> None:
    np.testing.assert_array_equal(hu_of(tmp_path, with_attribute(IMAGE, keyword, value)), HU)


def test_a_text_of_10_mib_where_nobody_looks_harms_nothing(tmp_path: Path) -> None:
    long = with_attribute(IMAGE, "PatientComments", b"C" * (10 << 20), "UT")

    np.testing.assert_array_equal(hu_of(tmp_path, long), HU)


def test_a_text_of_10_mib_is_carried_nowhere(tmp_path: Path) -> None:
    (tmp_path / "image.dcm").write_bytes(with_attribute(IMAGE, "ConvolutionKernel", b"K" * (10 << 20), "UT"))
    try:
        (series,) = discover(tmp_path / "image.dcm").series
    except InputError as refusal:
        assert len(str(refusal)) < 1000
    else:
        assert len(series.acquisition.kernel or "") <= 1024


def test_slices_that_share_a_uid_are_not_lost_as_copies(tmp_path: Path) -> None:
    """Careless de-identification gives all images one SOPInstanceUID; they are no copies, whatever they are called."""
    for index in range(3):
        content = encoded(ct_dataset(body(index, (36, 40)), 3.0 * index, SOPInstanceUID="1.2.3"))
        (tmp_path / f"{index}").write_bytes(content)

    found = discover(tmp_path)

    used = sum(len(series.slices) for series in found.series)
    assert used + sum(skip.is_fault for skip in found.skipped) == 3
    assert not [skip for skip in found.skipped if "copy" in skip.reason]


def test_a_series_uid_over_two_patients_becomes_two_series(tmp_path: Path) -> None:
    for index, patient in enumerate(("A", "B")):
        content = encoded(ct_dataset(body(index, (36, 40)), SOPInstanceUID=f"1.2.{index + 3}", PatientID=patient))
        (tmp_path / patient).write_bytes(content)

    found = discover(tmp_path)

    assert len(found.series) == 2 or any(skip.is_fault for skip in found.skipped)


@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.parametrize("depth", [100, 2000, 100_000])
def test_sequences_in_sequences(tmp_path: Path, depth: int, is_closed: bool) -> None:
    parts = parts_of(IMAGE)
    before = b"".join(element for element in parts.elements if parts.tag(element) < 0x00082112)
    after = b"".join(element for element in parts.elements if parts.tag(element) > 0x00082112)
    (tmp_path / "image.dcm").write_bytes(parts.head + before + sequences(parts, depth, is_closed) + after)
    try:
        (series,) = discover(tmp_path / "image.dcm").series
        hu = read_volume(series).hu[0]
    except InputError as refusal:
        assert any(word in refusal.fault for word in ("damaged", "cut short", "nested"))
    else:
        assert is_closed
        np.testing.assert_array_equal(hu, HU)


@pytest.mark.parametrize(
    "slope",
    ["1_0", "nan", "inf", "-inf", "1e400", "0x1", "１", "1 0", "1,0", "--1", "1e", "", "0", "0.0", "-1", "-0.5"],
)
def test_a_slope_that_is_no_positive_decimal_string_is_refused(tmp_path: Path, slope: str) -> None:
    content = with_attribute(encoded(ct_dataset(body())), "RescaleSlope", slope.encode())

    assert "no valid rescale slope" in refusal_of(tmp_path, content)


@pytest.mark.parametrize("slope", ["1", " 1 ", "+1", "1.", "1.0E0", "10e-1", ".1e1"])
def test_decimal_strings_of_any_form_are_read(tmp_path: Path, slope: str) -> None:
    (tmp_path / "image.dcm").write_bytes(with_attribute(encoded(ct_dataset(body())), "RescaleSlope", slope.encode()))

    assert discover(tmp_path).series[0].slices[0].slope == 1


@pytest.mark.parametrize(
    "spacing", ["1e-9\\1e-9", "1e5\\1e5", "0.1\\100", "100\\0.1", "0.1\\0.5", "11\\11", "0.001\\0.001", "1_0\\1"]
)
def test_pixels_of_an_impossible_size_are_refused(tmp_path: Path, spacing: str) -> None:
    content = with_attribute(encoded(ct_dataset(body())), "PixelSpacing", spacing.encode())

    assert "pixel spacing" in refusal_of(tmp_path, content)


@pytest.mark.parametrize("spacing", ["0.01\\0.01", "0.05\\0.05", "0.3\\0.3", "0.7\\0.8", "1.95\\1.95", "2.5\\5"])
def test_pixels_of_odd_scanners_are_read(tmp_path: Path, spacing: str) -> None:
    (tmp_path / "image.dcm").write_bytes(with_attribute(encoded(ct_dataset(body())), "PixelSpacing", spacing.encode()))

    assert len(discover(tmp_path).series) == 1

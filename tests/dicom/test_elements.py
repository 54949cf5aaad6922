"""The walk over top-level elements against pydicom's parser: real files, made-up datasets, damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from small_dicom import body, ct_dataset

from ldctpipe.dicom.attributes import Attributes, tags_of
from ldctpipe.dicom.headers import KEYWORDS, header_of
from ldctpipe.dicom.rejection import Rejected
from ldctpipe.dicom.scanning import Scan, scan

NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
SEQUENCES = {"DerivationCodeSequence"}


def write(path: Path, image: Dataset, syntax: str) -> Path:
    image.file_meta.TransferSyntaxUID = syntax
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    pydicom.dcmwrite(path, image, enforce_file_format=True, implicit_vr=implicit, little_endian=little)
    return path


def texts_of(value: object) -> tuple[str, ...]:
    """What pydicom returns for an attribute, as texts without padding; none for an empty one."""
    if value in (None, ""):
        return ()
    values = value if isinstance(value, MultiValue | list) else [value]
    return tuple(str(one).strip("\0 ") for one in values)


def assert_same(found: Attributes, expected: Dataset) -> None:
    """Hold every attribute that discovery wants against what pydicom has for it."""
    for tag, keyword in tags_of(KEYWORDS).items():
        assert (keyword in found) == (tag in expected), keyword
        if keyword in SEQUENCES:
            items = expected.get(keyword) or ()
            codes = {(str(item.get("CodingSchemeDesignator")), str(item.get("CodeValue"))) for item in items}
            assert found.codes(keyword) == codes
            continue
        texts = texts_of(expected[tag].value if tag in expected else None)
        if tag in expected and expected[tag].VR in ("DS", "IS", "US", "SS"):
            assert found.numbers(keyword) == tuple(float(text) for text in texts), keyword
        else:
            assert found.texts(keyword) == texts, keyword


def assert_same_pixels(found: Scan, path: Path, expected: Dataset) -> None:
    """The bytes at the place of the pixel data are the pixel data."""
    assert found.pixels is not None
    assert found.pixels.is_whole
    assert found.pixels.length_bytes == len(expected.PixelData)
    with path.open("rb") as stream:
        stream.seek(found.pixels.offset)
        assert stream.read(found.pixels.length_bytes) == expected.PixelData


def test_real_files_hold_what_pydicom_finds_in_them(real_data: Path) -> None:
    compared = 0
    for path in sorted(path for path in real_data.rglob("*") if path.is_file()):
        try:
            expected = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError:
            continue
        found = scan(path, KEYWORDS)
        assert_same(found.attributes, expected)
        assert found.transfer_syntax_uid == expected.file_meta.TransferSyntaxUID
        assert_same_pixels(found, path, expected)
        compared += 1
    assert compared > 120


def nested(depth: int, *, is_undefined: bool) -> Dataset:
    """An item that holds items, `depth` deep, and in each an attribute that is wanted at the top level alone."""
    item = Dataset()
    item.PatientID = f"inner {depth}"
    item.is_undefined_length_sequence_item = is_undefined
    if depth:
        item.ReferencedImageSequence = Sequence([nested(depth - 1, is_undefined=not is_undefined), Dataset()])
        item["ReferencedImageSequence"].is_undefined_length = is_undefined
    return item


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), max_size=16)
LATIN = st.text(st.characters(min_codepoint=160, max_codepoint=255), min_size=1, max_size=16)
NUMBER = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: f"{value:.6g}")
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "PatientID": st.one_of(TEXT, LATIN),
        "Manufacturer": st.one_of(TEXT, LATIN),
        "ConvolutionKernel": st.lists(TEXT, max_size=3),
        "ImageType": st.lists(st.sampled_from(["ORIGINAL", "PRIMARY", "AXIAL", "A B"]), min_size=1, max_size=5),
        "ImagePositionPatient": st.lists(NUMBER, min_size=3, max_size=3),
        "KVP": st.one_of(NUMBER, st.just("")),
        "SeriesNumber": st.one_of(st.integers(-(2**31), 2**31 - 1), st.just("")),
        "RescaleSlope": NUMBER,
        "PixelPaddingValue": st.integers(0, 2**15 - 1),
        "PixelPaddingRangeLimit": st.integers(0, 2**15 - 1),
    },
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given_values=ATTRIBUTES,
    syntax=st.sampled_from(NATIVE),
    depth=st.integers(0, 6),
    is_undefined=st.booleans(),
    private_bytes=st.sampled_from([0, 2, 40_000, 100_000]),
)
def test_made_up_datasets_hold_what_pydicom_finds_in_them(
    tmp_path: Path, given_values: dict, syntax: str, depth: int, is_undefined: bool, private_bytes: int
) -> None:
    image = ct_dataset(body(shape=(8, 10)), SpecificCharacterSet="ISO_IR 100")
    for keyword, value in given_values.items():
        setattr(image, keyword, value)
    for keyword in ("ReferencedStudySequence", "DerivationCodeSequence"):
        setattr(image, keyword, Sequence([nested(depth, is_undefined=is_undefined)]))
        image[keyword].is_undefined_length = is_undefined
    image.DerivationCodeSequence[0].CodeValue, image.DerivationCodeSequence[0].CodingSchemeDesignator = "A", "B"
    image.private_block(0x0029, "TEST", create=True).add_new(1, "OB", b"\x01" * private_bytes)
    path = write(tmp_path / "image", image, syntax)

    found = scan(path, KEYWORDS)

    expected = pydicom.dcmread(path)
    assert_same(found.attributes, expected)
    if syntax != DeflatedExplicitVRLittleEndian:
        assert_same_pixels(found, path, expected)


@pytest.mark.parametrize(
    ("character_sets", "patient"),
    [
        (["ISO_IR 192"], "Ørsted"),
        (["ISO_IR 144"], "Люкceмбypг"),
        (["ISO 2022 IR 6", "ISO 2022 IR 87"], "山田"),
        (["ISO_IR 13"], "ﾔﾏﾀﾞ"),
        (["GB18030"], "王小东"),
    ],
)
def test_text_follows_the_character_set(tmp_path: Path, character_sets: list[str], patient: str) -> None:
    image = ct_dataset(body(shape=(8, 10)), SpecificCharacterSet=character_sets, PatientID=patient)

    path = write(tmp_path / "image", image, ExplicitVRLittleEndian)

    assert scan(path, KEYWORDS).attributes.text("PatientID") == patient


def test_a_file_that_is_implicit_against_its_own_word_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "image", ct_dataset(body(shape=(8, 10))), ImplicitVRLittleEndian)
    named = b"1.2.840.10008.1.2\0"
    claimed = b"1.2.840.10008.1.2.1\0"
    content = path.read_bytes().replace(struct.pack("<H", len(named)) + named, struct.pack("<H", 20) + claimed)
    path.write_bytes(content)

    assert scan(path, KEYWORDS).attributes.whole_number("Rows") == 8


def test_a_sequence_of_unknown_vr_is_walked_as_implicit(tmp_path: Path) -> None:
    """PS3.5 §6.2.2: what another system wrote as UN with undefined length holds elements without VRs."""
    image = ct_dataset(body(shape=(8, 10)))
    path = write(tmp_path / "image", image, ExplicitVRLittleEndian)
    inner = struct.pack("<HHL", 0x0010, 0x0020, 6) + b"inner "
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    unknown = struct.pack("<HH2sHL", 0x0029, 0x1010, b"UN", 0, 0xFFFFFFFF) + item + end
    content = path.read_bytes()
    pixels = content.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    path.write_bytes(content[:pixels] + unknown + content[pixels:])

    found = scan(path, KEYWORDS)

    assert found.attributes.text("PatientID") == image.PatientID
    assert_same_pixels(found, path, image)


def test_encapsulated_pixels_are_followed_to_their_end(tmp_path: Path) -> None:
    image = ct_dataset(body(shape=(8, 10)))
    image.compress(RLELossless, generate_instance_uid=False)
    path = write(tmp_path / "image", image, RLELossless)
    whole = path.read_bytes()

    assert scan(path, KEYWORDS).pixels.is_whole
    for cut in range(1, 40):
        path.write_bytes(whole[:-cut])
        assert not scan(path, KEYWORDS).pixels.is_whole


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless])
def test_a_file_cut_at_any_byte_is_rejected_and_never_crashes(tmp_path: Path, syntax: str) -> None:
    image = ct_dataset(body(shape=(8, 10)))
    image.ReferencedStudySequence = Sequence([nested(2, is_undefined=True)])
    if syntax == RLELossless:
        image.compress(RLELossless, generate_instance_uid=False)
    path = write(tmp_path / "image", image, syntax)
    whole = path.read_bytes()
    header_of(path)

    for length in range(len(whole) - (syntax == DeflatedExplicitVRLittleEndian)):
        path.write_bytes(whole[:length])
        with pytest.raises(Rejected):
            header_of(path)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), syntax=st.sampled_from([*NATIVE, RLELossless]))
def test_garbage_is_rejected_or_read_and_never_raises_anything_else(
    tmp_path: Path, data: st.DataObject, syntax: str
) -> None:
    image = ct_dataset(body(shape=(8, 10)))
    image.DerivationCodeSequence = Sequence([nested(2, is_undefined=True)])
    if syntax == RLELossless:
        image.compress(RLELossless, generate_instance_uid=False)
    path = write(tmp_path / "image", image, syntax)
    content = bytearray(path.read_bytes())
    start = data.draw(st.sampled_from([128, 128, len(content) - 200]))
    changes = st.tuples(st.integers(start, len(content) - 1), st.binary(min_size=1, max_size=4))
    for position, new in data.draw(st.lists(changes, min_size=1, max_size=6)):
        content[position : position + len(new)] = new
    path.write_bytes(content)

    try:
        header_of(path)
    except Rejected as rejected:
        assert rejected.rejection.reason


def test_nesting_without_end_and_stray_delimiters_are_rejected(tmp_path: Path) -> None:
    start = write(tmp_path / "image", ct_dataset(body(shape=(8, 10))), ExplicitVRLittleEndian).read_bytes()
    start = start[: start.index(struct.pack("<HH2s", 0x0008, 0x0008, b"CS"))]
    opening = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    for tail in (opening * 5000, struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), struct.pack("<HH2sH", 8, 8, b"CS", 0) * 2**20):
        (tmp_path / "bad").write_bytes(start + tail)
        with pytest.raises(Rejected, match="damaged"):
            header_of(tmp_path / "bad")


def test_what_inflates_beyond_bounds_is_rejected_with_little_memory(tmp_path: Path) -> None:
    image = ct_dataset(body(shape=(8, 10)))
    image.private_block(0x0029, "TEST", create=True).add_new(1, "OB", bytes(100 << 20))
    path = write(tmp_path / "image", image, DeflatedExplicitVRLittleEndian)

    with pytest.raises(Rejected, match="inflates beyond 64 MiB"):
        header_of(path)

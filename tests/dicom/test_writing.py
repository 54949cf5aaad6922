"""Derived series: pixels to the bit, every attribute that must change, and what validators say."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from derivations import WEIGHTS, derivation
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless
from small_dicom import FRAME_UID, PATIENT_NAME, SERIES_UID, STUDY_UID, body, ct_dataset, write_ct, write_series

from ldctpipe.dicom import writing
from ldctpipe.dicom.decoding import Image, PixelFormat, decode
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series
from ldctpipe.dicom.uids import uid_of
from ldctpipe.dicom.writing import write_derived_series
from ldctpipe.errors import InputError, StoppedEarly


def derive(series: Series, hu: np.ndarray, folder: Path, **changes: object) -> list[pydicom.FileDataset]:
    folder.mkdir(parents=True, exist_ok=True)
    return [pydicom.dcmread(path) for path in write_derived_series(series, hu, folder, derivation(**changes))]


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return discover(write_series(tmp_path / "source")).series[0]


@pytest.mark.parametrize(
    "name",
    ["body", "head_ge_tilted", "phantom_philips_5mm", "phantom_philips_tilted"],
)
def test_unchanged_hu_leave_every_stored_byte_of_real_series(real_data: Path, tmp_path: Path, name: str) -> None:
    for number, series in enumerate(discover(real_data / name).series):
        volume = read_volume(series)

        derived = derive(series, volume.hu.astype(np.float32), tmp_path / str(number))

        for image, source in zip(derived, series.slices, strict=True):
            assert image.PixelData == pydicom.dcmread(source.path).PixelData


def test_only_changed_pixels_get_new_words_and_padding_none(real_data: Path, tmp_path: Path) -> None:
    (series,) = discover(real_data / "body" / "A002304" / "19001231-076.dcm").series
    volume = read_volume(series)
    hu = volume.hu + np.float32(3.4)
    hu[:, 200:210] = volume.hu[:, 200:210]

    derive(series, hu, tmp_path)
    again = read_volume(discover(tmp_path).series[0])

    assert volume.padding is not None
    expected = np.where(volume.padding, volume.hu, np.rint(hu))  # 3.4 is rounded to 3, not cut to 3 below zero
    np.testing.assert_array_equal(again.hu, expected)
    np.testing.assert_array_equal(again.padding, volume.padding)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-9)
    np.testing.assert_array_equal(again.hu[:, 200:210], volume.hu[:, 200:210])


def test_hu_beyond_the_stored_range_are_clipped(tmp_path: Path) -> None:
    write_ct(tmp_path / "source" / "a", body(), BitsStored=12, HighBit=11)
    (series,) = discover(tmp_path / "source").series
    hu = np.zeros((1, *body().shape))
    hu[0, 0, :2] = (-90000, 90000)

    (image,) = derive(series, hu, tmp_path / "out")

    assert image.pixel_array[0, :3].tolist() == [0, 4095, 1024]


def test_each_slice_is_stored_by_its_own_slope(tmp_path: Path) -> None:
    write_ct(tmp_path / "source" / "a", body(), 0.0)
    write_ct(tmp_path / "source" / "b", body(), 3.0, RescaleSlope=2, RescaleIntercept=-2048)
    (series,) = discover(tmp_path / "source").series
    hu = np.full((2, *body().shape), 101.0)

    first, second = derive(series, hu, tmp_path / "out")

    assert np.unique(first.pixel_array).tolist() == [1125]
    assert np.unique(second.pixel_array).tolist() == [1074]  # (101 + 2048) / 2 = 1074.5, to the even neighbour


def test_overlay_bits_above_bits_stored_stay(tmp_path: Path) -> None:
    overlay = np.random.default_rng(1).integers(0, 16, body().shape) << 12
    write_ct(tmp_path / "source" / "a", (body() | overlay).astype(np.uint16), BitsStored=12, HighBit=11)
    (series,) = discover(tmp_path / "source").series

    (image,) = derive(series, np.full((1, *body().shape), 7), tmp_path / "out")

    words = np.frombuffer(image.PixelData, "<u2").reshape(body().shape)
    np.testing.assert_array_equal(words >> 12, overlay >> 12)
    assert np.unique(words & 0xFFF).tolist() == [1031]


def test_identity_and_place_change_as_the_standard_wants(series: Series, tmp_path: Path) -> None:
    image, *_ = derive(series, np.zeros((3, series.rows, series.columns)), tmp_path / "out")
    source = pydicom.dcmread(series.slices[0].path)

    assert list(image.ImageType) == ["DERIVED", "SECONDARY", "AXIAL", "HELIX"]
    assert image.SOPInstanceUID != source.SOPInstanceUID
    assert image.SeriesInstanceUID != SERIES_UID
    assert (image.StudyInstanceUID, image.FrameOfReferenceUID) == (STUDY_UID, FRAME_UID)
    assert image.SOPInstanceUID.startswith("2.25.")
    assert len(image.SOPInstanceUID) <= 64
    assert (image.SeriesDescription, image.SeriesNumber) == ("Abdomen 3.0 B30f [ldctpipe mini]", 301)
    assert image.PatientName == PATIENT_NAME
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "KVP"):
        assert image[keyword] == source[keyword]
    assert image.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
    assert image.file_meta.ImplementationVersionName.startswith("LDCTPIPE")


def test_provenance_names_source_method_and_weights(series: Series, tmp_path: Path) -> None:
    image, *_ = derive(series, np.zeros((3, series.rows, series.columns)), tmp_path / "out")

    (source,) = image.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == series.slices[0].sop_uid
    assert source.SpatialLocationsPreserved == "YES"
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert image.ReferencedSeriesSequence[0].SeriesInstanceUID == SERIES_UID
    (code,) = image.DerivationCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == (
        "NOISERED",
        "99LDCTPIPE",
        "Noise reduction",
    )
    assert image.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99LDCTPIPE"
    (equipment,) = image.ContributingEquipmentSequence
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert list(equipment.SoftwareVersions) == ["0.1.0", WEIGHTS]
    assert equipment.ContributionDateTime == "20260504123001.000000+0000"


def test_what_belongs_to_the_source_instance_is_removed(tmp_path: Path) -> None:
    image = ct_dataset(
        body(), InstanceCreationDate="20200101", InstanceCreationTime="120000", LossyImageCompression="01"
    )
    image.SmallestImagePixelValue, image.LargestImagePixelValue = 5, 9
    image.private_block(0x0029, "VENDOR", create=True).add_new(0x10, "LO", "secret")
    image.IconImageSequence = pydicom.Sequence([pydicom.Dataset()])
    (tmp_path / "source").mkdir()
    pydicom.dcmwrite(tmp_path / "source" / "a", image, enforce_file_format=True)
    (series,) = discover(tmp_path / "source").series

    (derived,) = derive(series, np.full((1, *body().shape), 10), tmp_path / "out")

    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "IconImageSequence"):
        assert keyword not in derived
    assert not [element for element in derived.iterall() if element.tag.is_private]
    assert derived.LossyImageCompression == "01"
    assert derived.SmallestImagePixelValue == derived.LargestImagePixelValue == 1034


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"US\x01\x001", None),
        (b"QQ\x02\x001 ", 1),  # a type that does not exist, around a value that fits
        (b"LO\x02\x001 ", 1),
    ],
)
def test_an_attribute_is_mended_or_dropped_where_its_type_or_value_is_wrong_and_the_rest_is_written(
    tmp_path: Path, written: bytes, expected: int | None
) -> None:
    path = write_ct(tmp_path / "source" / "a", body(), AccessionNumber="A-7")
    path.write_bytes(path.read_bytes().replace(b"\x20\x00\x13\x00IS\x02\x001 ", b"\x20\x00\x13\x00" + written))
    (series,) = discover(path).series

    (derived,) = derive(series, np.full((1, *body().shape), 10), tmp_path / "out")

    assert derived.get("InstanceNumber") == expected
    assert derived.AccessionNumber == "A-7"


def test_a_long_series_description_keeps_the_models_name(tmp_path: Path) -> None:
    write_series(tmp_path / "source", slices=1, SeriesDescription="x" * 64)
    (series,) = discover(tmp_path / "source").series

    (image,) = derive(series, np.zeros((1, series.rows, series.columns)), tmp_path / "out")

    assert len(image.SeriesDescription) == 64
    assert image.SeriesDescription.endswith("x [ldctpipe mini]")


def test_the_same_job_writes_the_same_bytes_and_another_job_other_uids(series: Series, tmp_path: Path) -> None:
    hu = np.zeros((3, series.rows, series.columns))
    for folder in ("first", "second"):
        derive(series, hu, tmp_path / folder)

    first = sorted((tmp_path / "first").iterdir())
    assert [path.name for path in first] == [f"{series.key[:8]}-{number:04d}.dcm" for number in (1, 2, 3)]
    assert all(path.read_bytes() == (tmp_path / "second" / path.name).read_bytes() for path in first)
    uids = {
        derive(series, hu, tmp_path / "other", **change)[0].SeriesInstanceUID
        for change in ({}, {"settings": "blend=1"}, {"weights_sha256": "0" * 64}, {"code_value": "DOSERED"})
    }
    assert len(uids) == 4


def test_compressed_sources_come_out_uncompressed_with_the_same_values(tmp_path: Path) -> None:
    image = ct_dataset(body())
    image.compress(RLELossless, generate_instance_uid=False)
    (tmp_path / "source").mkdir()
    pydicom.dcmwrite(tmp_path / "source" / "a", image, enforce_file_format=True)
    (series,) = discover(tmp_path / "source").series

    (derived,) = derive(series, read_volume(series).hu, tmp_path / "out")

    np.testing.assert_array_equal(derived.pixel_array, body())


def test_a_denoised_series_is_known_as_such_and_a_dose_reduced_one_is_not(series: Series, tmp_path: Path) -> None:
    hu = read_volume(series).hu
    derive(series, hu, tmp_path / "denoised")
    derive(series, hu, tmp_path / "simulated", code_value="DOSERED", code_meaning="Dose reduction")

    (denoised,), (simulated,) = discover(tmp_path / "denoised").series, discover(tmp_path / "simulated").series

    assert denoised.denoising_refusal == "already denoised by ldctpipe"
    assert simulated.denoising_refusal is None


def test_wrong_shapes_are_bugs(series: Series, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shape"):
        write_derived_series(series, np.zeros((1, 2, 3)), tmp_path, derivation())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_a_fault_of_the_series(series: Series, tmp_path: Path, value: float) -> None:
    hu = read_volume(series).hu.astype(np.float32)
    hu[1, 30, 30] = value

    with pytest.raises(InputError, match=f"^series {series.key}: the model gave values that are no numbers; "):
        write_derived_series(series, hu, tmp_path, derivation())


@pytest.mark.parametrize("fault", [StoppedEarly, KeyboardInterrupt, OSError])
def test_a_signal_or_fault_leaves_no_image_to_be_written_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    (series,) = discover(write_series(tmp_path / "source", slices=20)).series
    (tmp_path / "out").mkdir()
    begun: list[Path] = []

    def decode_slowly(path: Path) -> Image:
        begun.append(path)
        if len(begun) == 1:
            raise fault
        time.sleep(0.05)
        return decode(path)

    monkeypatch.setattr(writing, "decode", decode_slowly)
    with pytest.raises(fault):
        write_derived_series(series, read_volume(series).hu, tmp_path / "out", derivation(), threads=2)

    assert len(begun) <= 4


def test_sigterm_ends_writing_with_the_images_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (series,) = discover(write_series(tmp_path / "source", slices=20)).series
    (tmp_path / "out").mkdir()
    begun: list[Path] = []

    def decode_and_be_ended(path: Path) -> Image:
        begun.append(path)
        if len(begun) == 3:  # when all images are in the queue
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        return decode(path)

    def stop(*_: object) -> None:
        raise StoppedEarly

    monkeypatch.setattr(writing, "decode", decode_and_be_ended)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(StoppedEarly):
            write_derived_series(series, read_volume(series).hu, tmp_path / "out", derivation(), threads=2)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert len(begun) <= 8


@pytest.mark.parametrize(
    ("source", "derived"),
    [
        ("ORIGINAL", ["DERIVED", "SECONDARY", "AXIAL"]),
        (["ORIGINAL", "PRIMARY"], ["DERIVED", "SECONDARY", "AXIAL"]),
        (["ORIGINAL", "PRIMARY", "LOCALIZED"], ["DERIVED", "SECONDARY", "LOCALIZED"]),
        (None, ["DERIVED", "SECONDARY", "AXIAL"]),
    ],
)
def test_an_image_type_of_any_length_becomes_a_derived_one(
    tmp_path: Path, source: str | list[str] | None, derived: list[str]
) -> None:
    write_series(tmp_path / "source", slices=1, ImageType=source)
    (series,) = discover(tmp_path / "source").series

    (image,) = derive(series, np.zeros((1, series.rows, series.columns)), tmp_path / "out")

    assert list(image.ImageType) == derived


def big_endian(path: Path) -> Path:
    """Write an image in Explicit VR Big Endian with words of every width, at two depths, and return its file."""
    image = ct_dataset(body())
    image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    image.PixelData = body().astype(">u2").tobytes()
    image.add_new(0x60003000, "OW", np.arange(288, dtype=">u2").tobytes())
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 16])
    table.add_new("LUTData", "OW", np.array([1, 2, 3, 0xABCD], ">u2").tobytes())
    image.VOILUTSequence = [table]
    block = image.private_block(0x0099, "NOBODY KNOWS", create=True)
    block.add_new(0x10, "OF", np.array([1.5, -2], ">f4").tobytes())
    block.add_new(0x11, "OD", np.array([1.5, -2], ">f8").tobytes())
    block.add_new(0x12, "OB", b"\1\2\3\4")
    block.add_new(0x13, "UN", b"\1\2\3\4")
    path.parent.mkdir()
    pydicom.dcmwrite(path, image, enforce_file_format=True)
    return path


def test_words_of_a_big_endian_source_are_turned_around(tmp_path: Path) -> None:
    (series,) = discover(big_endian(tmp_path / "source" / "a")).series
    (tmp_path / "out").mkdir()

    hu = read_volume(series).hu
    (path,) = write_derived_series(series, hu, tmp_path / "out", derivation(), keep_private=True)
    image = pydicom.dcmread(path)

    np.testing.assert_array_equal(image.pixel_array, body())
    assert np.frombuffer(image[0x60003000].value, "<u2").tolist() == list(range(288))
    assert np.frombuffer(image.VOILUTSequence[0].LUTData, "<u2").tolist() == [1, 2, 3, 0xABCD]
    assert image.VOILUTSequence[0].LUTDescriptor == [4, 0, 16]
    assert np.frombuffer(image[0x0099, 0x1010].value, "<f4").tolist() == [1.5, -2]
    assert np.frombuffer(image[0x0099, 0x1011].value, "<f8").tolist() == [1.5, -2]
    assert image[0x0099, 0x1012].value == b"\1\2\3\4"
    assert (0x0099, 0x1013) not in image  # of unknown type


def test_series_whose_keys_are_alike_and_parts_of_one_series_get_uids_of_their_own(
    series: Series, tmp_path: Path
) -> None:
    hu = np.zeros((3, series.rows, series.columns))
    alike = replace(series, uid=f"{series.uid}.7")
    part = replace(series, key="0123456789ab")

    uids = {
        derive(each, hu, tmp_path / str(number))[0].SeriesInstanceUID
        for number, each in enumerate((series, alike, part))
    }

    assert len(uids) == 3


def test_uids_are_128_bits_of_sha_256() -> None:
    expected = int(hashlib.sha256(b"a\0b").hexdigest()[:32], 16)

    assert uid_of("a", "b") == f"2.25.{expected}"
    assert uid_of("a", "b") != uid_of("ab")


@given(
    bits=st.integers(8, 16),
    shift=st.integers(0, 4),
    signed=st.booleans(),
    word=st.integers(0, 0xFFFF),
    share=st.floats(0, 1),
)
def test_every_storable_value_comes_back_from_its_word(
    bits: int, shift: int, signed: bool, word: int, share: float
) -> None:
    high_bit = min(bits - 1 + shift, 15)
    pixel_format = PixelFormat(bits, high_bit, signed)
    value = np.array([round(pixel_format.lowest + share * (pixel_format.highest - pixel_format.lowest))], np.int32)

    words = pixel_format.words(value, np.array([word], np.uint16))

    assert pixel_format.values(words).tolist() == value.tolist()


def test_decoding_a_lost_file_names_it(series: Series) -> None:
    series.slices[0].path.write_bytes(b"gone")

    with pytest.raises(Exception, match="not a DICOM file"):
        decode(series.slices[0].path)

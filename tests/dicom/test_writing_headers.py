"""Derived series from headers of every kind: character sets, hostile text, lossy sources, private attributes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from derivations import derivation
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import JPEG2000, ImplicitVRLittleEndian, JPEG2000Lossless
from small_dicom import STUDY_UID, body, ct_dataset, write_ct, write_series
from test_writing import derive

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.writing import write_derived_series


def derived_file(tmp_path: Path, image: Dataset, *, keep_private: bool = False) -> Path:
    """Write `image`, derive an image with other pixels from it, and return that one's file."""
    (tmp_path / "source").mkdir()
    pydicom.dcmwrite(tmp_path / "source" / "a", image, enforce_file_format=True)
    (series,) = discover(tmp_path / "source").series
    (tmp_path / "out").mkdir()
    hu = read_volume(series).hu + 1
    return write_derived_series(series, hu, tmp_path / "out", derivation(), keep_private=keep_private)[0]


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
        ("ISO_IR 100", "Müller^Jörg"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "Zhang^XiaoDong=张^小东"),
    ],
)
def test_text_in_every_character_set_stays_and_takes_our_own_beside_it(
    tmp_path: Path, character_set: str | list[str], name: str
) -> None:
    description = "Bauch " + name.rpartition("=")[2].replace("^", " ")
    image = ct_dataset(body(), SpecificCharacterSet=character_set, PatientName=name, SeriesDescription=description)

    derived = pydicom.dcmread(derived_file(tmp_path, image))

    assert derived.SpecificCharacterSet == character_set
    assert derived.PatientName == name
    assert derived.SeriesDescription == f"{description} [ldctpipe mini]"


def test_a_description_of_many_bytes_a_character_has_64_characters(tmp_path: Path) -> None:
    image = ct_dataset(body(), SpecificCharacterSet="ISO_IR 192", SeriesDescription="腹" * 64)

    derived = pydicom.dcmread(derived_file(tmp_path, image))

    assert derived.SeriesDescription == "腹" * (64 - len(" [ldctpipe mini]")) + " [ldctpipe mini]"


def test_bytes_that_their_character_set_cannot_hold_stay_as_they_are(tmp_path: Path) -> None:
    image = ct_dataset(body(), SpecificCharacterSet="ISO_IR 192", PatientName="XX^Joerg")
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "a"
    pydicom.dcmwrite(path, image, enforce_file_format=True)
    path.write_bytes(path.read_bytes().replace(b"XX^Joerg", b"M\xfc^J\xf6rg "))  # Latin 1 under a wrong label
    (series,) = discover(path).series

    derive(series, read_volume(series).hu, tmp_path / "out")

    (written,) = (tmp_path / "out").iterdir()
    assert b"M\xfc^J\xf6rg" in written.read_bytes()


def test_a_backslash_in_the_description_makes_it_no_list(tmp_path: Path) -> None:
    image = ct_dataset(body(), SeriesDescription=["Abdomen", "pelvis"])

    derived = pydicom.dcmread(derived_file(tmp_path, image))

    assert derived.SeriesDescription == "Abdomen pelvis [ldctpipe mini]"


def test_hostile_text_changes_nothing_outside_the_output_folder(tmp_path: Path) -> None:
    image = ct_dataset(body())
    for hostile in ("../../x", "<script>alert(1)</script>", "/etc/passwd", "a\0b; rm -rf .", "%n%s{0}"):
        for element in image:
            if element.VR in ("LO", "SH", "PN", "LT", "ST", "CS") and element.keyword not in (
                "Modality", "PhotometricInterpretation", "RescaleType", "ImageType"
            ):  # fmt: skip
                element.value = hostile
        image.SeriesInstanceUID = "1.2.3/../../../x"
        folder = tmp_path / re.sub(r"\W", "", hostile)
        folder.mkdir()

        path = derived_file(folder, image)

        assert sorted(entry.name for entry in folder.iterdir()) == ["out", "source"]
        assert [entry.name for entry in (folder / "out").iterdir()] == [path.name]
        assert re.fullmatch(r"[0-9a-f]{8}-0001\.dcm", path.name)
    assert len(list(tmp_path.iterdir())) == 5


def test_an_implicit_source_keeps_its_padding_and_its_private_attributes_when_asked(tmp_path: Path) -> None:
    stored = body().astype(np.int16)
    stored[:3] = -2000
    image = ct_dataset(stored, PixelPaddingValue=-2000)
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    block = image.private_block(0x0099, "NOBODY KNOWS", create=True)
    block.add_new(0x10, "UN", b"\1\2\3\4")
    image.add_new(0x00990001, "UN", b"no")  # an element of no block

    kept = pydicom.dcmread(derived_file(tmp_path, image, keep_private=True))

    assert (kept["PixelPaddingValue"].VR, kept.PixelPaddingValue) == ("SS", -2000)
    assert (kept.pixel_array[:3] == -2000).all()
    assert kept[0x0099, 0x1010].value == b"\1\2\3\4"
    (tmp_path / "again").mkdir()
    dropped = pydicom.dcmread(derived_file(tmp_path / "again", image))
    assert not [element for element in dropped.iterall() if element.tag.is_private]


def j2k_image(transfer_syntax: str, **attributes: object) -> Dataset:
    image = ct_dataset(body(), BitsStored=12, HighBit=11, **attributes)
    image.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    if transfer_syntax == JPEG2000:
        options = {"rows": 64, "columns": 72, "samples_per_pixel": 1, "number_of_frames": 1, "bits_allocated": 16}
        options |= {"bits_stored": 12, "pixel_representation": 0, "photometric_interpretation": "MONOCHROME2"}
        frame = get_encoder(JPEG2000).encode(body().tobytes(), encoding_plugin="pylibjpeg", j2k_cr=[8], **options)
        image.PixelData = encapsulate([frame])
        image.file_meta.TransferSyntaxUID = JPEG2000
    return image


def test_a_source_in_lossy_jpeg_2000_is_told_as_lossy(tmp_path: Path) -> None:
    derived = pydicom.dcmread(derived_file(tmp_path, j2k_image(JPEG2000)))

    assert derived.LossyImageCompression == "01"
    assert derived.LossyImageCompressionRatio == pytest.approx(8, rel=0.3)
    assert derived.LossyImageCompressionMethod == "ISO_15444_1"


@pytest.mark.parametrize(("syntax", "said"), [(JPEG2000Lossless, None), (JPEG2000, "00")])
def test_a_source_that_lost_nothing_is_not_told_as_lossy(tmp_path: Path, syntax: str, said: str | None) -> None:
    derived = pydicom.dcmread(derived_file(tmp_path, j2k_image(syntax, LossyImageCompression=said)))

    assert derived.get("LossyImageCompression") == said
    assert "LossyImageCompressionRatio" not in derived


def test_the_number_is_the_sources_times_100_and_1_or_the_next_that_is_free(tmp_path: Path) -> None:
    write_series(tmp_path / "all" / "a", slices=1, SeriesNumber=3)
    write_series(tmp_path / "all" / "b", slices=1, uid_root="1.2.7", SeriesInstanceUID="1.2.7", SeriesNumber=301)
    write_series(tmp_path / "all" / "c", slices=1, uid_root="1.2.8", SeriesInstanceUID="1.2.8", SeriesNumber=None)

    numbers = {}
    for series in discover(tmp_path / "all").series:
        (image,) = derive(series, read_volume(series).hu, tmp_path / "out" / series.key)
        assert image.StudyInstanceUID == STUDY_UID
        numbers[series.number] = image.SeriesNumber

    assert numbers == {3: 302, 301: 30101, None: 1}


def test_what_the_acquisition_and_the_study_say_is_kept(tmp_path: Path) -> None:
    image = ct_dataset(body(), WindowCenter=[40, -500], WindowWidth=[400, 1500], CTDIvol=4.2, StudyID="7")
    image.IrradiationEventUID, image.AccessionNumber, image.StudyDate = "1.2.3.4", "A-7", "20200102"
    image.add_new(0x60003000, "OW", b"\1\0" * 288)
    image.add_new(0x60000010, "US", 64)
    image.add_new(0x00080000, "UL", 12345)
    image.ReferencedSeriesSequence = [Dataset()]
    image.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.9"
    image.ContributingEquipmentSequence = [Dataset()]
    image.ContributingEquipmentSequence[0].Manufacturer = "BEFORE"
    image.DerivationDescription = "x" * 1020

    derived = pydicom.dcmread(derived_file(tmp_path, image))

    kept = ("WindowCenter", "WindowWidth", "CTDIvol", "StudyID", "IrradiationEventUID", "AccessionNumber", "StudyDate")
    for keyword in kept:
        assert derived[keyword] == image[keyword]
    assert derived[0x60003000].value == image[0x60003000].value
    assert 0x00080000 not in derived
    assert [item.SeriesInstanceUID for item in derived.ReferencedSeriesSequence] == ["1.2.9", image.SeriesInstanceUID]
    assert [item.Manufacturer for item in derived.ContributingEquipmentSequence] == ["BEFORE", "ldctpipe"]
    assert len(derived.DerivationDescription) == 1024
    assert derived.file_meta.FileMetaInformationVersion == b"\0\1"


def test_signatures_of_the_source_are_gone(tmp_path: Path) -> None:
    image = ct_dataset(body(), SmallestPixelValueInSeries=1, LargestPixelValueInSeries=9)
    for keyword in ("DigitalSignaturesSequence", "MACParametersSequence"):
        setattr(image, keyword, [Dataset()])
    image.DataSetTrailingPadding = b"\0" * 8

    derived = pydicom.dcmread(derived_file(tmp_path, image))

    gone = ("DigitalSignaturesSequence", "MACParametersSequence", "DataSetTrailingPadding")
    for keyword in (*gone, "SmallestPixelValueInSeries", "LargestPixelValueInSeries"):
        assert keyword not in derived


def test_a_changed_source_file_is_noticed_before_it_is_derived_from(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "source" / "a", body())
    (series,) = discover(path).series
    hu = read_volume(series).hu
    path.write_bytes(path.read_bytes()[:2000])

    with pytest.raises(Exception, match=r"ends|changed"):
        derive(series, hu, tmp_path / "out")

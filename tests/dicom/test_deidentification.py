"""De-identification: no identifier is left in any byte, and what relates images to each other survives."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from derivations import derivation
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian
from small_dicom import FRAME_UID, PATIENT_ID, SERIES_UID, STUDY_UID, body, ct_dataset, write_series

from ldctpipe.dicom.confidentiality_profile import shifted_date
from ldctpipe.dicom.deidentification import Deidentifier, site_key
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series
from ldctpipe.dicom.writing import derived_names, write_derived_series
from ldctpipe.errors import InputError

KEY = bytes(range(32))
CANARY = "CANARY"
NUMERIC_CANARY = 1983
DERIVATION = derivation()


def deidentified(series: Series, folder: Path, key: bytes = KEY) -> list[Path]:
    folder.mkdir(parents=True)
    return write_derived_series(series, read_volume(series).hu, folder, DERIVATION, deidentifier=Deidentifier(key))


def one_image(tmp_path: Path, image: Dataset) -> Path:
    """Write `image`, derive a de-identified image from it, and return that one's file."""
    (tmp_path / "source").mkdir(parents=True)
    pydicom.dcmwrite(tmp_path / "source" / "a", image, enforce_file_format=True)
    return deidentified(discover(tmp_path / "source").series[0], tmp_path / "out")[0]


def table_tags() -> Iterator[Tag]:
    """The attributes that the profile names, but for those of commands, file meta and media directories."""
    for numbers in dicomfields_2026c.ALL_TAGS:
        if len(numbers) == 2 and numbers[0] > 4:
            yield Tag(*numbers)


def canary_element(tag: Tag, depth: int = 0) -> pydicom.DataElement:
    vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "LO"
    if vr == "SQ":
        item = Dataset()
        item.CodeMeaning = item.PersonName = CANARY
        if depth < 2:
            item.add(canary_element(Tag("OtherPatientIDsSequence"), depth + 1))
        return pydicom.DataElement(tag, vr, [item])
    if vr in ("OB", "OW", "UN"):
        return pydicom.DataElement(tag, vr, CANARY.encode())
    if vr in ("US", "SS", "UL", "SL", "FL", "FD"):
        return pydicom.DataElement(tag, vr, NUMERIC_CANARY)
    if vr in ("DS", "IS"):
        return pydicom.DataElement(tag, vr, str(NUMERIC_CANARY))
    if vr in ("DA", "DT"):
        return pydicom.DataElement(tag, vr, "19830704")
    return pydicom.DataElement(tag, vr, f"1.2.3.{NUMERIC_CANARY}" if vr == "UI" else CANARY)


def canary_image() -> Dataset:
    image = ct_dataset(body())
    kept = {"SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"}
    for tag in table_tags():
        if pydicom.datadict.keyword_for_tag(tag) not in kept:
            image.add(canary_element(tag))
    image.ProcedureCodeSequence = [Dataset()]  # a sequence that stays, with what mustn't stay in it
    for tag in table_tags():
        image.ProcedureCodeSequence[0].add(canary_element(tag))
    image.ProcedureCodeSequence[0].CodeMeaning = "CT of the abdomen"
    image.private_block(0x0029, "CANARY MAKER", create=True).add_new(0x10, "LO", CANARY)
    image.add_new(0x60003000, "OW", CANARY.encode())
    image.add_new(0x60000022, "LO", CANARY)
    image.add_new(0x50020010, "US", 1)
    image.add_new(0x50022600, "LO", CANARY)
    image.add_new(0x00080FFE, "UN", CANARY.encode())  # a tag that no dictionary has
    return image


def test_nothing_that_the_profile_names_is_left_in_any_byte(tmp_path: Path) -> None:
    path = one_image(tmp_path, canary_image())

    assert (tmp_path / "source" / "a").read_bytes().count(CANARY.encode()) > 1000
    written = path.read_bytes()
    for trace in (CANARY.encode(), str(NUMERIC_CANARY).encode(), PATIENT_ID.encode(), b"Doe", b"1970"):
        assert trace not in written
    for uid in (SERIES_UID, STUDY_UID, FRAME_UID):
        assert uid.encode() not in written


def test_what_pixels_and_provenance_need_survives(tmp_path: Path) -> None:
    image = pydicom.dcmread(one_image(tmp_path, canary_image()))
    source = pydicom.dcmread(tmp_path / "source" / "a")

    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "KVP"):
        assert image[keyword] == source[keyword]
    assert image.PixelData == source.PixelData
    assert image.ConvolutionKernel == "B30f"
    assert image.ProcedureCodeSequence[0].CodeMeaning == "CT of the abdomen"
    assert image.SeriesDescription == "[ldctpipe mini]"
    assert image.DerivationDescription == DERIVATION.description
    assert image.DerivationCodeSequence[0].CodeValue == "NOISERED"
    assert image.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99LDCTPIPE"


def test_the_header_says_what_was_done(tmp_path: Path) -> None:
    image = pydicom.dcmread(one_image(tmp_path, ct_dataset(body())))

    assert (image.PatientIdentityRemoved, image.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    codes = [(code.CodeValue, code.CodingSchemeDesignator) for code in image.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM"), ("113107", "DCM")]
    assert image.PatientID == image.PatientName == Deidentifier(KEY).pseudonym(PATIENT_ID)
    assert PATIENT_ID not in image.PatientID
    assert image.PatientBirthDate == ""


def test_references_lead_to_the_same_new_uids_in_all_files(tmp_path: Path) -> None:
    write_series(tmp_path / "source", slices=2)
    (series,) = discover(tmp_path / "source").series
    deidentifier = Deidentifier(KEY)

    images = [pydicom.dcmread(path) for path in deidentified(series, tmp_path / "out")]

    for image, place in zip(images, series.slices, strict=True):
        assert image.StudyInstanceUID == deidentifier.uid(STUDY_UID)
        assert image.FrameOfReferenceUID == deidentifier.uid(FRAME_UID)
        assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == deidentifier.uid(place.sop_uid)
        assert image.SourceImageSequence[0].ReferencedSOPClassUID == CTImageStorage
        assert image.ReferencedSeriesSequence[0].SeriesInstanceUID == deidentifier.uid(SERIES_UID)
    assert len({image.SeriesInstanceUID for image in images}) == 1


def test_intervals_between_the_studies_of_a_patient_stay_and_two_patients_move_differently(tmp_path: Path) -> None:
    dates = {}
    for name, patient, day in (("a", "P1", "20200228"), ("b", "P1", "20200301"), ("c", "P2", "20200228")):
        image = ct_dataset(body(), PatientID=patient, StudyDate=day, StudyTime="101500", AcquisitionDateTime=f"{day}10")
        derived = pydicom.dcmread(one_image(tmp_path / name, image))
        dates[name] = datetime.strptime(derived.StudyDate, "%Y%m%d")
        assert derived.StudyTime == "101500"
        assert derived.AcquisitionDateTime == f"{derived.StudyDate}10"

    assert (dates["b"] - dates["a"]).days == 2  # over a 29 February
    assert dates["c"] != dates["a"]
    assert dates["a"] < datetime(2020, 2, 28)


def test_no_true_date_of_ours_stands_beside_those_that_moved(tmp_path: Path) -> None:
    scanned = {f"{of}Date": "20260504" for of in ("Study", "Series", "Acquisition", "Content")}

    path = one_image(tmp_path, ct_dataset(body(), **scanned))  # derived on the day of the scan

    equipment = pydicom.dcmread(path).ContributingEquipmentSequence[-1]
    assert (equipment.Manufacturer, "ContributionDateTime" in equipment) == ("ldctpipe", False)
    assert b"20260504" not in path.read_bytes()


def test_private_attributes_cannot_be_kept(tmp_path: Path) -> None:
    (series,) = discover(write_series(tmp_path / "source")).series
    hu = read_volume(series).hu

    with pytest.raises(ValueError, match="private"):
        write_derived_series(series, hu, tmp_path, DERIVATION, keep_private=True, deidentifier=Deidentifier(KEY))


@given(st.binary(min_size=32, max_size=40), st.text())
def test_dates_move_back_by_one_day_to_ten_years(key: bytes, patient: str) -> None:
    assert -3650 <= Deidentifier(key).date_shift_days(patient) <= -1


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("20200301", "20200228"),
        ("2020.03.01", "20200228"),
        ("20200301 ", "20200228"),
        ("20200301101500.123456+0100", "20200228101500.123456+0100"),
        ("202003", None),
        ("20201301", None),
        ("00010101", None),
        ("1 March 2020", None),
        ("20200301-20200401", None),
        ("", None),
    ],
)
def test_dates_of_every_form_move_or_go(value: str, moved: str | None) -> None:
    assert shifted_date(value, -2) == moved


def test_a_date_with_several_values_moves_as_a_whole_and_an_unreadable_one_empties_it(tmp_path: Path) -> None:
    image = ct_dataset(body(), DateOfLastCalibration=["20200301", "20200302"], StudyDate="Monday", StudyTime="noon")

    derived = pydicom.dcmread(one_image(tmp_path, image))

    first, second = (datetime.strptime(value, "%Y%m%d") for value in derived.DateOfLastCalibration)
    assert (second - first).days == 1
    assert not derived.StudyDate
    assert not derived.StudyTime


def test_the_same_key_writes_the_same_bytes_and_another_key_others(tmp_path: Path) -> None:
    (series,) = discover(write_series(tmp_path / "source", slices=1)).series

    first, again = (deidentified(series, tmp_path / name)[0] for name in ("first", "again"))
    (other,) = deidentified(series, tmp_path / "other", KEY[::-1])

    assert first.name == again.name
    assert first.read_bytes() == again.read_bytes()
    assert other.name != first.name
    assert pydicom.dcmread(other).PatientID != pydicom.dcmread(first).PatientID


def test_file_names_follow_from_the_replaced_uids(tmp_path: Path) -> None:
    (series,) = discover(write_series(tmp_path / "source")).series
    named = Deidentifier(KEY).series(series)

    paths = deidentified(series, tmp_path / "out")

    assert [path.name for path in paths] == derived_names(named) != derived_names(series)
    assert {named.uid, named.study_uid, named.patient_key, named.key}.isdisjoint(
        {series.uid, series.study_uid, series.patient_key, series.key}
    )
    part = replace(series, key="0123456789ab")  # one of two series under the same UID
    assert Deidentifier(KEY).series(part).key not in (named.key, part.key)


def test_text_in_overlay_bits_goes_and_padding_that_needs_them_stays(tmp_path: Path) -> None:
    stored = body()
    stored[:4] = 63536  # −2000 as a word, more than the 12 bits that are stored
    stored[20:24] |= 0x8000
    image = ct_dataset(stored, BitsStored=12, HighBit=11, PixelPaddingValue=63536, OverlayBitPosition=None)

    derived = pydicom.dcmread(one_image(tmp_path, image))

    words = np.frombuffer(derived.PixelData, "<u2").reshape(stored.shape)
    expected = np.where(np.arange(len(stored))[:, None] < 4, stored, stored & 0xFFF)
    np.testing.assert_array_equal(words, expected)


def test_patients_without_a_number_are_told_apart_by_their_studies(tmp_path: Path) -> None:
    names = set()
    for study in ("1.2.3", "1.2.4"):
        image = ct_dataset(body(), PatientID=None, StudyInstanceUID=study)
        names.add(pydicom.dcmread(one_image(tmp_path / study, image)).PatientID)

    assert len(names) == 2


def test_images_with_annotations_in_their_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="annotations") as caught:
        one_image(tmp_path, ct_dataset(body(), BurnedInAnnotation="YES"))

    assert str(caught.value).startswith(str(tmp_path / "source" / "a"))


def test_implicit_sources_with_unknown_private_attributes_lose_them(tmp_path: Path) -> None:
    image = ct_dataset(body(), PatientComments="Frau Müller", SpecificCharacterSet="ISO_IR 100")
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    image.private_block(0x0099, "NOBODY KNOWS", create=True).add_new(0x10, "UN", b"CANARY")

    written = one_image(tmp_path, image).read_bytes()

    assert b"CANARY" not in written
    assert b"NOBODY" not in written
    assert b"ller" not in written


def test_dciodvfy_finds_no_new_error_in_real_images(real_data: Path, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    for number, name in enumerate(("body", "head_ge_tilted", "phantom_philips_5mm")):
        series = discover(real_data / name).series[0]

        path = deidentified(series, tmp_path / str(number))[0]

        assert errors_of(path) <= errors_of(series.slices[0].path)


def errors_of(path: Path) -> set[str]:
    finished = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return {line for line in finished.stderr.splitlines() if line.startswith("Error")}


def test_a_sites_key_is_made_once_and_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    first, again = site_key(None), site_key(None)

    (file,) = (tmp_path / "ldctpipe").iterdir()
    assert first == again == file.read_bytes().strip()
    assert len(bytes.fromhex(first.decode())) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"short\n", None])
def test_a_key_that_is_missing_or_too_short_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)

    with pytest.raises(InputError, match="key"):
        site_key(tmp_path / "key")


def test_a_key_that_others_can_read_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key").write_bytes(KEY.hex().encode())
    (tmp_path / "key").chmod(0o644)

    assert site_key(tmp_path / "key") == KEY.hex().encode()
    assert "chmod 600" in capsys.readouterr().err

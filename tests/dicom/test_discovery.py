"""What is found in a folder, what is left out, and what is said about it."""

from __future__ import annotations

import os
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.fileset import FileSet
from small_dicom import PATIENT_ID, body, write_ct, write_series

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.headers import header_of
from ldctpipe.dicom.opening import read_whole
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.rejection import Rejected
from ldctpipe.errors import InputError

# What a DICOMDIR has to list beside the identifiers.
STUDY = {"StudyDate": "20260102", "StudyTime": "1200", "StudyID": "1"}


def test_slices_are_ordered_by_position_whatever_their_names_and_numbers(tmp_path: Path) -> None:
    write_series(tmp_path / "deep" / "er", slices=5, step_mm=2.5)

    (series,) = discover(tmp_path).series

    np.testing.assert_allclose(series.positions_mm, [0, 2.5, 5, 7.5, 10])
    assert [image.path.name for image in series.slices] == ["IM005", "IM004", "IM003", "IM002", "IM001"]
    np.testing.assert_allclose(series.spacing_mm, (2.5, 0.7, 0.8))


def test_order_follows_the_slice_normal_in_sagittal_series(tmp_path: Path) -> None:
    for index, x_mm in enumerate((12.0, -3.0, 4.5)):
        orientation = [0, 1, 0, 0, 0, -1]  # its normal is −x
        write_ct(
            tmp_path / f"{index}", body(), index, ImageOrientationPatient=orientation, ImagePositionPatient=[x_mm, 0, 0]
        )

    (series,) = discover(tmp_path).series

    assert [float(pydicom.dcmread(s.path).ImagePositionPatient[0]) for s in series.slices] == [12.0, 4.5, -3.0]


def test_other_files_are_passed_over_but_a_false_dcm_is_named(tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "notes.txt").write_text("reading list")
    (tmp_path / ".hidden.dcm").write_text("passed over")
    (tmp_path / "x.dcm").write_text("not an image")

    found = discover(tmp_path)

    (skip,) = found.skipped
    assert (skip.path.name, skip.is_fault) == ("x.dcm", True)
    assert "in spite of its name" in skip.reason
    assert len(found.series[0].slices) == 3


def test_localizers_and_screens_of_a_real_export_are_left_out_with_their_reason(real_data: Path) -> None:
    found = discover(real_data)

    assert found.skipped_by_reason() == {"not a CT image (Secondary Capture Image Storage)": 6, "localizer": 1}
    assert sorted(len(series.slices) for series in found.series) == [1] * 14 + [28, 28, 54]


def test_a_folder_of_nothing_but_localizers_is_refused_in_one_sentence(real_data: Path) -> None:
    with pytest.raises(InputError, match=r"no usable CT image \(6 × not a CT image .*, 1 × localizer\)"):
        discover(real_data / "mixed_philips_localizers")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour"),
        ({"NumberOfFrames": 4}, "several frames"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "several frames"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "MR Image Storage"),
        ({"Rows": 60000, "Columns": 60000}, "image size"),
        ({"RescaleSlope": 0}, "rescale slope"),
        ({"RescaleSlope": None}, "rescale slope"),
        ({"RescaleIntercept": None}, "rescale slope"),
        ({"RescaleType": "US"}, "not in HU"),
        ({"ImageOrientationPatient": None}, "no orientation"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "right angle"),
        ({"ImagePositionPatient": None}, "no position"),
        ({"PixelSpacing": None}, "no pixel spacing"),
        ({"PixelSpacing": [0, 0]}, "no pixel spacing"),
        ({"BitsAllocated": 8}, "16 bits"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
    ],
)
def test_images_that_must_not_be_touched_are_refused(tmp_path: Path, attributes: dict, reason: str) -> None:
    path = write_ct(tmp_path / "image", body(), **attributes)

    with pytest.raises(InputError) as refusal:
        discover(path)

    assert reason in str(refusal.value)
    assert PATIENT_ID not in str(refusal.value)


def test_a_slope_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "image", body(), RescaleSlope="1")
    path.write_bytes(path.read_bytes().replace(b"\x28\x00\x53\x10DS\x02\x001 ", b"\x28\x00\x53\x10DS\x04\x00NaN "))

    with pytest.raises(InputError, match="rescale slope"):
        discover(path)


def test_a_spelled_out_hounsfield_unit_is_hu(tmp_path: Path) -> None:
    for spelling in ("Houndsfield Unit", "HOUNSFIELD", "hu"):
        path = write_ct(tmp_path / spelling.replace(" ", "_"), body(), RescaleType=spelling)
        assert len(discover(path).series) == 1


def test_one_uid_over_several_kinds_of_image_becomes_several_series(tmp_path: Path) -> None:
    write_series(tmp_path / "axial")
    write_series(tmp_path / "sharp", uid_root="1.2.3", ConvolutionKernel="D45f")

    found = discover(tmp_path).series

    assert sorted(series.acquisition.kernel or "" for series in found) == ["B30f", "D45f"]
    assert len({series.key for series in found}) == 2
    assert found[0].uid == found[1].uid


def test_two_phases_at_the_same_positions_are_told_apart_by_acquisition(tmp_path: Path) -> None:
    for phase in (1, 2):
        for index in range(3):
            uid = f"1.2.3.{phase}.{index}"
            write_ct(tmp_path / uid, body(phase), 3.0 * index, SOPInstanceUID=uid, AcquisitionNumber=phase)

    found = discover(tmp_path)

    assert [len(series.slices) for series in found.series] == [3, 3]
    assert not found.skipped


def test_acquisition_numbers_that_count_slices_split_nothing(real_data: Path) -> None:
    (series,) = discover(real_data / "head_ge_tilted").series

    assert len(series.slices) == 28
    assert any("18.5°" in warning for warning in series.warnings)
    assert any("1.08 to 7.00 mm" in warning for warning in series.warnings)


def test_a_copy_of_a_slice_is_left_out_and_a_rival_refuses_the_series(tmp_path: Path) -> None:
    write_series(tmp_path, slices=2)
    shutil.copy(tmp_path / "IM001", tmp_path / "again")
    write_ct(tmp_path / "rival", body(9), 3.0, SOPInstanceUID="1.2.3.99")

    found = discover(tmp_path)

    assert found.skipped_by_reason() == {"a second copy of a slice": 1}
    with pytest.raises(InputError, match="several images at one position, and nothing tells"):
        read_volume(found.series[0])


def test_a_cut_file_is_left_out_and_its_series_says_so(tmp_path: Path) -> None:
    write_series(tmp_path, slices=4)
    (tmp_path / "IM001").write_bytes((tmp_path / "IM001").read_bytes()[:-100])

    found = discover(tmp_path)

    assert [skip.path.name for skip in found.skipped] == ["IM001"]
    assert found.skipped[0].is_fault
    assert "1 damaged file(s) of this series left out" in found.series[0].warnings


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.9999))
def test_a_file_cut_at_any_byte_is_one_sentence(tmp_path: Path, share: float) -> None:
    whole = write_ct(tmp_path / "whole", body()).read_bytes()
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole[: int(share * len(whole))])

    with pytest.raises(InputError) as refusal:
        discover(cut)

    assert str(refusal.value).startswith(str(cut))
    assert str(refusal.value).count("\n") == 0
    assert PATIENT_ID not in str(refusal.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_altered_bytes_never_raises_anything_else(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(write_ct(tmp_path / "whole", body()).read_bytes())
    for position, value in data.draw(st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), max_size=8)):
        content[position] = value
    (tmp_path / "altered.dcm").write_bytes(content)

    try:
        discover(tmp_path / "altered.dcm")
    except InputError as refusal:
        assert "altered.dcm" in str(refusal)


@pytest.mark.parametrize(("name", "fault"), [("missing", "does not exist"), ("empty", "holds no files")])
def test_missing_and_empty_inputs(tmp_path: Path, name: str, fault: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=fault):
        discover(tmp_path / name)


def test_a_zip_archive_reads_like_its_folder(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"../../{path.name}")  # a name that tries to leave the folder

    (packed,), (plain,) = discover(tmp_path / "scan.zip").series, discover(folder).series

    assert (packed.key, len(packed.slices)) == (plain.key, len(plain.slices))
    assert not (tmp_path.parent / "IM001").exists()


def test_a_folder_that_links_to_itself_is_read_once(tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)

    assert not discover(tmp_path).skipped


def test_keys_do_not_depend_on_the_patient_and_tell_patients_apart(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    of_other = {"SeriesInstanceUID": "1.2.4", "StudyInstanceUID": "1.2.5", "PatientID": "other"}
    write_series(tmp_path / "b", uid_root="1.2.4", **of_other)
    write_series(tmp_path / "c", uid_root="1.2.6", SeriesInstanceUID="1.2.6", StudyInstanceUID="1.2.7")

    found = {series.uid: series for series in discover(tmp_path).series}

    first, second, third = (found[uid] for uid in sorted(found))
    assert len({first.patient_key, second.patient_key, third.patient_key}) == 2
    assert len({first.key, second.key, third.key}) == 3


def test_a_vanished_and_an_unreadable_file_are_reasons(tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "never there")

    found = discover(tmp_path)

    (skip,) = found.skipped
    assert (skip.path.name, skip.is_fault) == ("gone", True)
    assert skip.reason == "can't be read (No such file or directory)"
    assert len(found.series[0].slices) == 3


def test_a_folder_that_cannot_be_listed_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "scan")
    write_series(tmp_path / "locked")
    scandir = os.scandir

    def denying(path: str) -> object:
        if str(path).endswith("locked"):  # root, who may run the tests, is let into every folder
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denying)

    found = discover(tmp_path)

    assert [(skip.path.name, skip.reason) for skip in found.skipped] == [
        ("locked", "can't be read (Permission denied)")
    ]


def test_a_dicomdir_within_a_folder_is_passed_over_and_a_zip_is_named(tmp_path: Path) -> None:
    write_series(tmp_path, **STUDY)
    directory = FileSet()
    directory.add(tmp_path / "IM001")
    directory.write(tmp_path / "export")
    (tmp_path / "export" / "DICOMDIR").rename(tmp_path / "DICOMDIR")
    shutil.rmtree(tmp_path / "export")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(tmp_path / "IM001")

    found = discover(tmp_path)

    assert [(skip.path.name, skip.reason) for skip in found.skipped] == [
        ("more.zip", "a zip archive within the folder")
    ]
    assert len(found.series[0].slices) == 3


def test_a_dicomdir_stands_for_the_files_that_it_lists(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", **STUDY)
    directory = FileSet()
    for path in sorted((tmp_path / "scan").iterdir())[:2]:
        directory.add(path)
    directory.write(tmp_path / "cd")
    write_series(tmp_path / "cd" / "not listed", uid_root="1.2.9", SeriesInstanceUID="1.2.9")

    (series,) = discover(tmp_path / "cd" / "DICOMDIR").series

    assert len(series.slices) == 2


@pytest.mark.parametrize(
    ("z_mm", "expected"),
    [
        ((0, 3, 6, 9), ()),
        ((0, 3, 9, 12), ("1 slice missing near z = 6.0 mm",)),
        ((0, 3, 6, 18, 21), ("3 slices missing near z = 12.0 mm",)),
        ((0, 3, 6, 10, 13), ("slice distances are uneven: 3.00 to 4.00 mm",)),
        ((0, 1.5, 3, 4.5), ("slices overlap: 3.00 mm thick, 1.50 mm apart",)),
        ((0, 5, 10), ()),
        ((7,), ("a single slice",)),
        (
            (0, 3, 6, 9, 12, 15, 21, 24, 30, 33, 39, 42, 48, 51, 57),
            (
                "1 slice missing near z = 18.0 mm",
                "1 slice missing near z = 27.0 mm",
                "1 slice missing near z = 36.0 mm",
                "slices are missing at 2 more places",
            ),
        ),
    ],
)
def test_each_kind_of_uneven_stack_has_its_own_warning(tmp_path: Path, z_mm: tuple, expected: tuple) -> None:
    for index, z in enumerate(z_mm):
        write_ct(tmp_path / str(index), body(index), z)

    (series,) = discover(tmp_path).series

    assert series.warnings == expected


def test_a_gap_of_a_sagittal_series_is_placed_along_its_normal(tmp_path: Path) -> None:
    for index, x_mm in enumerate((0, 2, 6, 8)):
        place = {
            "ImageOrientationPatient": [0, 1, 0, 0, 0, 1],
            "ImagePositionPatient": [x_mm, 0, 0],
            "SliceThickness": 2,
        }
        write_ct(tmp_path / str(index), body(), index, **place)

    (series,) = discover(tmp_path).series

    assert series.warnings[0] == "1 slice missing near position 4.0 mm"


def test_numbers_for_derived_series_are_free_and_do_not_depend_on_the_order(tmp_path: Path) -> None:
    numbers = {"1.2.1": 3, "1.2.2": 3, "1.2.3": 301, "1.2.4": None, "1.2.5": 2**31 - 1, "1.2.6": -2}
    for uid, number in numbers.items():
        write_ct(tmp_path / uid, body(), SeriesInstanceUID=uid, SOPInstanceUID=f"{uid}.1", SeriesNumber=number)
    write_ct(tmp_path / "x", body(), SeriesInstanceUID="1.3", SOPInstanceUID="1.3.1", StudyInstanceUID="1.4")

    found = discover(tmp_path).series

    derived = {series.uid: series.derived_number for series in found}
    assert derived.pop("1.3") == 301  # another study
    assert sorted((derived["1.2.1"], derived["1.2.2"])) == [302, 303]
    assert derived["1.2.3"] == 30101
    assert derived["1.2.4"] == 1
    assert derived["1.2.5"] == 2
    assert derived["1.2.6"] == -199
    assert {series.uid: series.number for series in found if series.uid != "1.3"} == numbers


def test_the_patient_is_in_no_text_of_a_series(tmp_path: Path) -> None:
    (series,) = discover(write_series(tmp_path)).series

    assert series.patient_id == PATIENT_ID
    assert PATIENT_ID not in repr(series)
    assert series.transfer_syntaxes == ("Explicit VR Little Endian",)


def test_long_discovery_tells_how_far_it_is_and_short_one_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path)

    discover(tmp_path)
    assert capsys.readouterr().err == ""

    monkeypatch.setattr("ldctpipe.dicom.discovery._QUIET_S", -1.0)
    discover(tmp_path)
    assert "reading headers: 3/3 files" in capsys.readouterr().err


def test_what_is_neither_file_nor_folder_is_refused_and_passed_over_within_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="named pipe, socket or device"):
        discover(tmp_path / "pipe")
    with pytest.raises(InputError, match="named pipe, socket or device"):
        discover(Path(os.devnull))
    with pytest.raises(Rejected):  # as where a DICOMDIR names it
        header_of(tmp_path / "pipe")

    write_series(tmp_path)

    assert not discover(tmp_path).skipped


def test_sequences_nested_beyond_any_image_are_damage(tmp_path: Path) -> None:
    """Each level of known length holds the bytes of all below: ten thousand take gigabytes."""
    path = write_ct(tmp_path / "a.dcm", body())
    whole = path.read_bytes()
    at = whole.index(b"\xe0\x7f\x10\x00OW")

    def nested(depth: int) -> bytes:
        heads, size = [], 0
        for _ in range(depth):
            heads.append(struct.pack("<4s2sHLHHL", b"\x40\x00\x75\x02", b"SQ", 0, size + 8, 0xFFFE, 0xE000, size))
            size += 20
        return b"".join(reversed(heads))

    path.write_bytes(whole[:at] + nested(10_000) + whole[at:])
    with pytest.raises(Rejected):
        read_whole(path)
    path.write_bytes(whole[:at] + nested(20) + whole[at:])
    assert len(read_whole(path).RequestAttributesSequence) == 1

"""DICOMDIRs made by dcmtk and pydicom: their files are found, and nothing outside their folder is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest
from pydicom.fileset import FileSet
from small_dicom import body, ct_dataset, write_ct

from ldctpipe.dicom.dicomdir import is_dicomdir, referenced_files
from ldctpipe.errors import InputError

REQUIRED = {"StudyID": "1", "StudyDate": "20200102", "StudyTime": "101010", "AccessionNumber": "7"}


@pytest.fixture
def by_pydicom(tmp_path: Path) -> Path:
    files = FileSet()
    for index in range(3):
        files.add(ct_dataset(body(index), 3.0 * index, InstanceNumber=index + 1, **REQUIRED))
    files.write(tmp_path / "cd")
    return tmp_path / "cd" / "DICOMDIR"


def sop_uids(files: list[Path]) -> list[str]:
    return sorted(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in files)


def expected_uids() -> list[str]:
    return sorted(ct_dataset(body(), 3.0 * index).SOPInstanceUID for index in range(3))


def test_files_of_a_dicomdir_of_pydicom(by_pydicom: Path) -> None:
    assert is_dicomdir(by_pydicom)
    files = referenced_files(by_pydicom)
    assert sop_uids(files) == expected_uids()
    assert all(path.is_relative_to(by_pydicom.parent) for path in files)


def test_files_of_a_dicomdir_of_dcmtk(tmp_path: Path) -> None:
    if shutil.which("dcmmkdir") is None:
        pytest.skip("dcmmkdir of dcmtk is not installed")
    for index in range(3):
        write_ct(tmp_path / "IMAGES" / f"IM{index}", body(index), 3.0 * index, InstanceNumber=index + 1, **REQUIRED)
    command = ["dcmmkdir", "+r", "+id", tmp_path, "-Pgp", "+D", tmp_path / "DICOMDIR", "IMAGES"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert is_dicomdir(tmp_path / "DICOMDIR")
    assert sop_uids(referenced_files(tmp_path / "DICOMDIR")) == expected_uids()


def test_images_and_other_files_are_no_dicomdir(tmp_path: Path) -> None:
    assert not is_dicomdir(write_ct(tmp_path / "DICOMDIR", body()))
    (tmp_path / "text").write_text("1.2.840.10008.1.3.10")
    assert not is_dicomdir(tmp_path / "text") and not is_dicomdir(tmp_path) and not is_dicomdir(tmp_path / "none")


def test_names_are_found_in_lower_case_and_with_a_version(by_pydicom: Path) -> None:
    first, second, third = referenced_files(by_pydicom)
    first.rename(first.with_name(first.name.lower()))
    second.rename(second.with_name(second.name + ";1"))
    third.rename(third.with_name(third.name.lower() + ".;1"))
    assert sop_uids(referenced_files(by_pydicom)) == expected_uids()


def test_what_is_listed_but_not_there_keeps_its_path(by_pydicom: Path) -> None:
    first, *others = referenced_files(by_pydicom)
    first.unlink()
    assert referenced_files(by_pydicom) == [first, *others]


def test_records_not_in_use_and_second_mentions_are_left_out(by_pydicom: Path) -> None:
    directory = pydicom.dcmread(by_pydicom)
    images = [item for item in directory.DirectoryRecordSequence if item.DirectoryRecordType == "IMAGE"]
    images[0].RecordInUseFlag = 0
    images[1].ReferencedFileID = images[2].ReferencedFileID
    directory.save_as(by_pydicom)
    assert len(referenced_files(by_pydicom)) == 1


@pytest.mark.parametrize(
    "name",
    [["..", "x"], ["A", "..", "..", "x"], "/etc/passwd", "..\\x", "C:\\x", ["A", "", "x"], [".", "x"], "A/../../x"],
)
def test_a_file_outside_the_folder_is_never_named(name: str | list[str], by_pydicom: Path) -> None:
    directory = pydicom.dcmread(by_pydicom)
    record = next(item for item in directory.DirectoryRecordSequence if item.DirectoryRecordType == "IMAGE")
    record["ReferencedFileID"]._value = None  # pydicom checks names when they are set
    record["ReferencedFileID"].VR = "LO"
    record.ReferencedFileID = name
    directory.save_as(by_pydicom)
    with pytest.raises(InputError, match="outside its own folder"):
        referenced_files(by_pydicom)


def test_an_empty_one_and_a_damaged_one_are_refused(by_pydicom: Path, tmp_path: Path) -> None:
    directory = pydicom.dcmread(by_pydicom)
    whole = by_pydicom.read_bytes()
    directory.DirectoryRecordSequence = []
    directory.save_as(by_pydicom)
    with pytest.raises(InputError, match="lists no files"):
        referenced_files(by_pydicom)
    for length in range(400, len(whole), 97):
        by_pydicom.write_bytes(whole[:length])
        try:
            assert all(path.is_relative_to(by_pydicom.parent) for path in referenced_files(by_pydicom))
        except InputError as error:
            assert error.path == by_pydicom

"""Scans of any kind load as volumes with the same HU in the same place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_dicom import PATIENT_ID, body, write_ct, write_series

from ldctpipe.data.ingestion import ingest
from ldctpipe.data.scans import load_volume, load_volumes, scan_outlines
from ldctpipe.errors import InputError
from ldctpipe.volumes.nifti import write_nifti


def test_dicom_case_and_nifti_of_a_series_agree(tmp_path: Path) -> None:
    source = write_series(tmp_path / "dicom", slices=4)
    raw = load_volume(source)
    ingest(source, tmp_path / "cases")
    write_nifti(tmp_path / "scan.nii.gz", raw.hu, raw.affine)

    for path in (source, tmp_path / "cases", tmp_path / "cases" / raw.key, tmp_path / "scan.nii.gz"):
        volume = load_volume(path)
        assert [outline.hu.shape for outline in scan_outlines(path)] == [raw.hu.shape]
        np.testing.assert_array_equal(volume.hu, raw.hu)
        np.testing.assert_allclose(volume.affine, raw.affine, atol=1e-4)


def test_the_outline_of_a_nifti_is_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = load_volume(write_series(tmp_path / "dicom", slices=4))
    write_nifti(tmp_path / "scan.nii.gz", raw.hu, raw.affine)
    whole = load_volume(tmp_path / "scan.nii.gz")
    monkeypatch.setattr("ldctpipe.data.scans.read_nifti", None)  # unpacking takes longer than all else in `prepare`

    (outline,) = scan_outlines(tmp_path / "scan.nii.gz")

    assert outline.hu.shape == whole.hu.shape
    np.testing.assert_array_equal(outline.affine, whole.affine)
    np.testing.assert_array_equal(outline.positions_mm, whole.positions_mm)


def test_ingest_keeps_hu_padding_and_acquisition_of_real_series(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "body" / "A046441"
    ingest(source, tmp_path / "cases")

    for raw, case in zip(load_volumes(source), load_volumes(tmp_path / "cases"), strict=True):
        assert case.hu.dtype == np.int16
        np.testing.assert_array_equal(case.hu, raw.hu)
        np.testing.assert_array_equal(case.padding, raw.padding)
        np.testing.assert_allclose(case.affine, raw.affine, atol=1e-4)
        assert (case.acquisition, case.key, case.frame_of_reference) == (
            raw.acquisition,
            raw.key,
            raw.frame_of_reference,
        )


def test_ingest_says_what_was_left_out_and_no_identity(tmp_path: Path) -> None:
    source = write_series(tmp_path / "Doe_Jane")
    (source / "x.dcm").write_text("no image")
    write_series(source / "mr", uid_root="1.2.9", SeriesInstanceUID="1.2.9", SOPClassUID="1.2.840.10008.5.1.4.1.1.4")

    done = ingest(source, tmp_path / "cases")

    assert done.damaged_files == 1
    written = json.loads((tmp_path / "cases" / "ingest.json").read_text())
    assert written["skipped"] == {
        "not a CT image (MR Image Storage)": 3,
        "not a DICOM file in spite of its name": 1,
    }
    everything = "".join(path.read_text() for path in (tmp_path / "cases").rglob("*.json"))
    assert not [word for word in ("Doe", PATIENT_ID, "19700102", "IM001") if word in everything]


def test_one_unreadable_series_does_not_keep_the_others_out(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "good")
    write_series(tmp_path / "in" / "bad", uid_root="1.2.9", SeriesInstanceUID="1.2.9", RescaleIntercept=0)

    done = ingest(tmp_path / "in", tmp_path / "cases")

    assert len(done.cases) == 1
    (reason,) = done.refused.values()
    assert reason.startswith("its values can't be HU: it holds air near 0 and soft tissue near 1000")


def test_nothing_is_left_behind_where_nothing_could_be_read(tmp_path: Path) -> None:
    write_series(tmp_path / "in", RescaleIntercept=0)

    with pytest.raises(InputError, match="soft tissue"):
        ingest(tmp_path / "in", tmp_path / "out" / "cases")

    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_output_folder_is_left_alone(tmp_path: Path) -> None:
    source = write_series(tmp_path / "in")
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "mine").write_text("precious")

    with pytest.raises(InputError, match="already holds files"):
        ingest(source, tmp_path / "cases")

    assert (tmp_path / "cases" / "mine").read_text() == "precious"


def test_fractional_hu_are_rounded_on_disk_with_a_warning(tmp_path: Path) -> None:
    write_ct(tmp_path / "in" / "a", 2 * body() + 1, RescaleSlope="0.5")
    ingest(tmp_path / "in", tmp_path / "cases")

    case = load_volume(tmp_path / "cases")

    assert case.hu.dtype == np.int16
    np.testing.assert_allclose(case.hu[0], body() - 1023.5, atol=0.5)
    assert any("rounded" in warning for warning in case.warnings)


def test_one_series_is_wanted_but_two_are_there(tmp_path: Path) -> None:
    write_series(tmp_path)
    write_series(tmp_path / "second", uid_root="1.2.9", SeriesInstanceUID="1.2.9")

    with pytest.raises(InputError, match="2 series where one is wanted"):
        load_volume(tmp_path)


def test_a_second_image_at_a_position_refuses_its_series_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_series(tmp_path)
    write_ct(tmp_path / "double.dcm", body(9), 3.0, SOPInstanceUID="1.2.3.9")

    for read in (load_volume, scan_outlines):
        with pytest.raises(InputError, match="several images at one position, and nothing tells which belong together"):
            read(tmp_path)

    write_series(tmp_path / "other", slices=2, uid_root="1.2.8", SeriesInstanceUID="1.2.8")
    assert load_volume(tmp_path).hu.shape[0] == 2
    assert [outline.hu.shape for outline in scan_outlines(tmp_path)] == [(2, 64, 72)]
    assert "left out series" in capsys.readouterr().err

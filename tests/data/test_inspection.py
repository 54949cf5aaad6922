"""`ldctpipe inspect`: every series with what a physicist asks for, why others can't be used, and no identity."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from noisy_body import noisy_body
from small_dicom import PATIENT_ID, PATIENT_NAME, body, write_ct, write_series
from typer.testing import CliRunner

from ldctpipe.cli.app import app, run
from ldctpipe.data.ingestion import ingest
from ldctpipe.data.inspection import Finding, Inspection, Range, inspect
from ldctpipe.data.inspection_table import as_text
from ldctpipe.dicom.scanning import scan
from ldctpipe.errors import ExitCode, InputError

MR_CLASS, SCREEN_CLASS = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"


def only(folder: Path) -> Finding:
    (found,) = inspect(folder).series
    return found


def output(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_dose_tags_come_as_ranges_over_the_slices(tmp_path: Path) -> None:
    for index, exposure_mas in enumerate((80, 120, 100)):
        given = {"Exposure": exposure_mas, "XRayTubeCurrent": 2 * exposure_mas, "CTDIvol": 7.25}
        write_ct(tmp_path / str(index), body(index), 3.0 * index, **given)

    found = only(tmp_path)

    assert found.exposure_mas == Range(80, 120, 100)
    assert found.tube_current_ma == Range(160, 240, 200)
    assert (found.tube_voltage_kv, found.ctdi_vol_mgy, found.kernel) == (120, 7.25, "B30f")
    assert "80–120" in as_text(inspect(tmp_path))


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [
        ([1, 0, 0, 0, 1, 0], "axial"),
        ([-1, 0, 0, 0, -1, 0], "axial"),
        ([1, 0, 0, 0, 0, -1], "coronal"),
        ([0, 1, 0, 0, 0, -1], "sagittal"),
        ([1, 0, 0, 0, 0.96, -0.28], "axial"),  # a head holder's 16°
        ([0.8, 0.6, 0, 0, 0, -1], "oblique (coronal)"),
    ],
)
def test_the_plane_follows_from_the_direction_cosines(tmp_path: Path, orientation: list[float], plane: str) -> None:
    write_ct(tmp_path / "a", body(), ImageOrientationPatient=orientation, PatientPosition="FFS")

    found = only(tmp_path)

    assert (found.orientation, found.patient_position) == (plane, "FFS")


def test_tilt_of_real_series_is_measured_from_their_positions(real_data: Path) -> None:
    tilted, straight = only(real_data / "phantom_philips_tilted"), only(real_data / "phantom_philips_5mm")

    assert tilted.shear_deg == pytest.approx(18.5, abs=0.1)
    assert abs(tilted.gantry_tilt_deg or 0) == pytest.approx(18.5)
    assert straight.shear_deg == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("positions_mm", "missing", "is_uneven"),
    [([0, 3, 6, 9], 0, False), ([0, 3, 9, 12], 1, False), ([0, 3, 6, 18], 3, False), ([0, 3, 7, 10], None, True)],
)
def test_missing_slices_are_counted_and_uneven_ones_told(
    tmp_path: Path, positions_mm: list[float], missing: int | None, is_uneven: bool
) -> None:
    for z_mm in positions_mm:
        write_ct(tmp_path / str(z_mm), body(), z_mm)

    found = only(tmp_path)

    assert (found.missing_slices, found.is_uneven) == (missing, is_uneven)
    assert found.largest_slice_distance_mm == pytest.approx(max(np.diff(positions_mm)))


def test_series_of_other_kinds_are_there_with_the_reason(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    write_series(tmp_path / "mr", uid_root="1.2.9", SeriesInstanceUID="1.2.9", SOPClassUID=MR_CLASS, Modality="MR")
    write_ct(tmp_path / "screen", body(), SeriesInstanceUID="1.2.8", SOPClassUID=SCREEN_CLASS, Modality="<script>")
    write_ct(tmp_path / "scout", body(), -50, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "notes.txt").write_text("no image")

    found = inspect(tmp_path)

    facts = {(one.modality, one.slices, one.unusable_files, one.refusal) for one in found.series}
    assert facts == {
        ("CT", 3, 0, None),
        ("MR", 0, 3, "not a CT image (MR Image Storage)"),
        ("?", 0, 1, "not a CT image (Secondary Capture Image Storage)"),
    }
    assert found.skipped["localizer"] == 1  # it has the UID of the scan, so it makes no row
    assert "script" not in as_text(found)


def test_a_series_denoised_already_is_refused(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    from ldctpipe.dicom.headers import CODING_SCHEME, NOISE_REDUCTION_CODE

    code = Dataset()
    code.CodingSchemeDesignator, code.CodeValue = CODING_SCHEME, NOISE_REDUCTION_CODE
    write_ct(tmp_path / "a", body(), DerivationCodeSequence=[code])

    assert not only(tmp_path).is_denoisable
    assert "can't be denoised: already denoised" in as_text(inspect(tmp_path))


def test_no_identity_reaches_the_table_or_the_json(tmp_path: Path) -> None:
    folder = tmp_path / "Doe_Jane"
    write_series(folder, AccessionNumber="ACC-77", InstitutionName="St. Elsewhere", StudyDate="20230405")
    write_ct(folder / "Doe_Jane_MR", body(), SeriesInstanceUID="1.2.9", SOPClassUID=MR_CLASS, Modality="Doe^Jane")
    (folder / "Doe.dcm").write_text("no image")

    texts = output(folder, "--anonymous") + output(folder, "--anonymous", "--json")

    identifiers = (PATIENT_ID, PATIENT_NAME, "Doe", "Jane", "19700102", "ACC-77", "Elsewhere", "20230405", "Abdomen")
    assert not [word for word in identifiers if word in texts]
    assert not [uid for uid in ("1.2.826", "1.2.9") if uid in texts]


def test_a_series_is_known_by_its_number_description_and_a_file(tmp_path: Path) -> None:
    write_series(tmp_path / "study" / "3", SeriesNumber=3, SeriesDescription="Abdomen 3.0 B30f")
    write_ct(tmp_path / "study" / "mr", body(), SeriesInstanceUID="1.2.9", SOPClassUID=MR_CLASS, Modality="MR")

    ct, mr = sorted(json.loads(output(tmp_path, "--json"))["series"], key=lambda one: one["modality"])

    assert (ct["series_number"], ct["series_description"]) == (3, "Abdomen 3.0 B30f")
    assert (tmp_path / ct["file"]).is_file()
    assert ct["file"].startswith("study/3/IM")
    assert mr["file"] == "study/mr"
    assert "    series 3, Abdomen 3.0 B30f, study/3/IM" in output(tmp_path)
    assert "Abdomen" not in output(tmp_path, "--anonymous")
    assert run(["inspect", str(tmp_path), "--anonymous", "--list-skipped"]) == ExitCode.USAGE
    hidden = json.loads(output(tmp_path, "--anonymous", "--json"))["series"]
    assert {one[name] for one in hidden for name in ("series_number", "series_description", "file")} == {None}


def test_files_left_out_are_named_only_when_asked(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "ct")
    (tmp_path / "in" / "Doe.dcm").write_text("no image")

    assert "skipped_files" not in json.loads(output(tmp_path / "in", "--json"))
    listed = json.loads(output(tmp_path / "in", "--json", "--list-skipped"))["skipped_files"]
    assert listed == [{"file": "Doe.dcm", "reason": "not a DICOM file in spite of its name"}]
    assert "left out: Doe.dcm: not a DICOM file" in output(tmp_path / "in", "--list-skipped")


def test_json_has_every_value_with_its_unit(tmp_path: Path) -> None:
    write_series(tmp_path, slices=4, PatientPosition="HFS")

    (found,) = json.loads(output(tmp_path, "--json"))["series"]

    assert found["is_denoisable"] is True
    assert (found["slice_spacing_mm"], found["row_spacing_mm"], found["column_spacing_mm"]) == (3.0, 0.7, 0.8)
    assert (found["slices"], found["rows"], found["columns"], found["tube_voltage_kv"]) == (4, 64, 72, 120)
    assert found["transfer_syntaxes"] == ["Explicit VR Little Endian"]
    assert found["missing_slices"] == 0


def test_the_table_of_real_series_fits_120_columns(real_data: Path) -> None:
    lines = output(real_data).splitlines()

    assert max(map(len, lines)) <= 120
    rows = [line for line in lines[2:] if " CT " in line]
    assert len(rows) >= 17
    assert sum(line.endswith(" yes") for line in rows) == 17
    assert any("69–152" in line and "18.4" in line and "axial HFS" in line for line in rows)
    assert any("18.5 uneven" in line for line in rows)
    assert "20 series, 17 can be denoised" in lines


def test_a_crowded_row_stays_within_120_columns() -> None:
    crowded = Finding(
        "0123456789ab", "DICOM", "CT", 1999, None, rows=1024, columns=1024, slice_spacing_mm=0.625,
        row_spacing_mm=0.977, column_spacing_mm=0.977, missing_slices=12, orientation="axial", patient_position="HFDR",
        shear_deg=18.53, kernel="Br40d\\3 very long name", tube_voltage_kv=140, exposure_mas=Range(112, 1310, 700),
        ctdi_vol_mgy=18.4321, transfer_syntaxes=("JPEG 2000 Image Compression (Lossless Only)",),
    )  # fmt: skip

    assert max(map(len, as_text(Inspection((crowded,), {})).splitlines())) <= 120


def test_control_characters_of_a_header_never_reach_the_terminal(tmp_path: Path) -> None:
    write_ct(tmp_path / "a", body(), ConvolutionKernel="\x1b[31mB", PatientPosition="\x07")

    assert not [
        character for character in as_text(inspect(tmp_path)) if not character.isprintable() and character != "\n"
    ]


def test_cases_and_nifti_are_inspected_too_and_what_is_no_hu_is_refused(tmp_path: Path) -> None:
    ingest(write_series(tmp_path / "dicom", slices=4), tmp_path / "cases")
    (tmp_path / "nifti").mkdir()
    hu = noisy_body(3, 48, seed=0)[0].transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([-0.7, -0.7, 3, 1])), tmp_path / "nifti" / "a.nii")
    nibabel.save(nibabel.Nifti1Image((hu / 3000).astype(np.float32), np.eye(4)), tmp_path / "nifti" / "b.nii.gz")

    (case,) = inspect(tmp_path / "cases").series
    good, bad = inspect(tmp_path / "nifti").series

    assert (case.kind, case.slices, case.kernel) == ("case", 4, "B30f")
    assert "without the headers" in (case.refusal or "")
    assert (good.kind, good.slices, good.orientation, good.refusal) == ("NIfTI", 3, "axial", None)
    assert "normalized, not HU" in (bad.refusal or "")


def test_a_folder_of_another_modality_is_a_table_and_one_without_dicom_a_sentence(tmp_path: Path) -> None:
    write_ct(tmp_path / "mr" / "a", body(), SOPClassUID=MR_CLASS, Modality="MR")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no image")

    assert only(tmp_path / "mr").refusal == "not a CT image (MR Image Storage)"
    with pytest.raises(InputError, match="not a DICOM file"):
        inspect(tmp_path / "text")


def test_nothing_of_use_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        inspect(tmp_path / "none")
    with pytest.raises(InputError, match="holds no files"):
        inspect(tmp_path)


def test_no_file_is_scanned_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "mr", uid_root="1.2.9", SeriesInstanceUID="1.2.9", SOPClassUID=MR_CLASS, Modality="MR")
    opened = []
    monkeypatch.setattr("ldctpipe.dicom.headers.scan", lambda *given: opened.append(given[0]) or scan(*given))

    assert only(tmp_path).unusable_files == 3
    assert len(opened) == 3

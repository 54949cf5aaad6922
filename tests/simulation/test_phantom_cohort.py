"""Phantom cohorts: valid DICOM in the AAPM-Mayo layout, with the noise and truth that they promise."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import InputError, UsageError
from ldctpipe.merging import LISTING
from ldctpipe.simulation.cohort import make_phantom_cohort

PATIENTS, SLICES, SIZE = 3, 3, 256


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small cohort."""
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    make_phantom_cohort(out, PATIENTS, SLICES, seed=3, size=SIZE)
    return out


def _hu(folder: Path) -> np.ndarray:
    (series,) = discover(folder).series
    return read_volume(series).hu.astype(np.float64)


def _truth(cohort: Path, patient: str) -> np.ndarray:
    return nibabel.load(cohort / "truth" / f"{patient}.nii").get_fdata().transpose(2, 1, 0)


def test_layout_is_that_of_the_challenge(cohort: Path) -> None:
    for name, letters in (("full_3mm", "FD"), ("quarter_3mm", "QD")):
        for patient in ("L001", "L002", "L003"):
            files = sorted((cohort / name / patient / name).glob("*.IMA"))
            assert len(files) == SLICES
            assert files[0].name.startswith(f"{patient}_{letters}_3_1.CT.0001.0001.")


def test_both_doses_share_study_and_geometry(cohort: Path) -> None:
    found = [discover(cohort / name) for name in ("full_3mm", "quarter_3mm")]

    assert not any(part.skipped for part in found)
    by_study: dict[str, list] = {}
    for series in (series for part in found for series in part.series):
        by_study.setdefault(series.study_uid, []).append(series)
    assert len(by_study) == PATIENTS
    for first, second in by_study.values():
        assert first.uid != second.uid
        assert first.frame_of_reference_uid == second.frame_of_reference_uid
        assert np.array_equal(first.affine, second.affine)
        assert first.spacing_mm[0] == pytest.approx(2.0)


def test_truth_lies_where_the_images_lie(cohort: Path) -> None:
    (series,) = discover(cohort / "full_3mm" / "L002").series
    truth = nibabel.load(cohort / "truth" / "L002.nii")

    assert truth.affine == pytest.approx(series.affine, abs=1e-4)
    correlation = np.corrcoef(read_volume(series).hu.ravel(), _truth(cohort, "L002").ravel())[0, 1]
    assert correlation > 0.99


def test_noise_of_the_liver_is_that_of_mayo(cohort: Path) -> None:
    truth = _truth(cohort, "L002")
    smooth = np.abs(truth - np.median(truth[(truth > 40) & (truth < 150)])) < 25
    full, quarter = (_hu(cohort / name / "L002") for name in ("full_3mm", "quarter_3mm"))

    assert 10.5 < (full - truth)[smooth].std() < 14.0
    assert 21.0 < (quarter - truth)[smooth].std() < 29.0
    assert abs((quarter - truth)[smooth].mean()) < 1.0


@pytest.mark.parametrize("patient", ["L001", "L002", "L003"])
def test_a_quarter_of_the_dose_has_four_times_the_variance(cohort: Path, patient: str) -> None:
    truth = _truth(cohort, patient)
    soft = (truth > 0) & (truth < 150)
    full, quarter = (_hu(cohort / name / patient) for name in ("full_3mm", "quarter_3mm"))

    ratio = (quarter - truth)[soft].var() / (full - truth)[soft].var()

    assert 3.9 < ratio < 4.7  # electronic noise adds a little to 4


def test_neighbouring_slices_share_a_third_of_their_noise(cohort: Path) -> None:
    noise = _hu(cohort / "full_3mm" / "L002") - _truth(cohort, "L002")
    first, second, third = (noise[index, 96:160, 96:160].ravel() for index in range(3))

    assert np.corrcoef(first, second)[0, 1] == pytest.approx(1 / 3, abs=0.06)
    assert abs(np.corrcoef(first, third)[0, 1]) < 0.06


def test_lesions_are_where_the_table_says(cohort: Path) -> None:
    rows = list(csv.DictReader((cohort / "truth" / "inserts.csv").open()))
    big = [row for row in rows if float(row["radius_mm"]) > 5 and row["kind"] == "liver lesion"]

    assert big
    for row in big:
        truth = _truth(cohort, row["patient"])[int(row["slice"])]
        y, x = int(row["row"]), int(row["column"])
        outside = truth[y - 20 : y + 21, x - 20 : x + 21]
        assert truth[y - 1 : y + 2, x - 1 : x + 2].mean() < np.median(outside) - 0.3 * abs(float(row["contrast_hu"]))


def test_patients_differ_and_slices_change_smoothly(cohort: Path) -> None:
    patients = json.loads((cohort / "phantom.json").read_text())["patients"]
    truth = _truth(cohort, "L001")

    assert [patient["region"] for patient in patients] == ["thorax", "abdomen", "pelvis"]
    assert len({patient["pixel_mm"] for patient in patients}) == PATIENTS
    assert np.corrcoef(truth[0].ravel(), truth[1].ravel())[0, 1] > 0.97
    assert not np.array_equal(truth[0], truth[1])


def test_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    def digest(out: Path) -> list[str]:
        files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != LISTING)
        return [f"{path.relative_to(out)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]

    for name, threads in (("first", 1), ("second", 2)):
        make_phantom_cohort(tmp_path / name, 1, 2, seed=5, size=64, threads=threads)
    make_phantom_cohort(tmp_path / "other", 1, 2, seed=6, size=64)

    assert digest(tmp_path / "first") == digest(tmp_path / "second")
    assert not set(digest(tmp_path / "first")) & set(digest(tmp_path / "other"))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_images_are_valid_dicom(cohort: Path) -> None:
    for name in ("full_3mm", "quarter_3mm"):
        image = next((cohort / name).rglob("*.IMA"))
        report = subprocess.run(["dciodvfy", str(image)], capture_output=True, text=True, check=False)
        assert "Error" not in report.stdout + report.stderr


@pytest.mark.parametrize("options", [{"dose": 0.0}, {"dose": 1.0}, {"size": 100}, {"size": 32}])
def test_refuses_what_can_not_be_made(tmp_path: Path, options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        make_phantom_cohort(tmp_path / "out", 1, 1, seed=1, **options)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_full_is_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(InputError, match="already holds files"):
        make_phantom_cohort(tmp_path, 1, 1, seed=1, size=64)

    assert (tmp_path / "notes.txt").read_text() == "mine"

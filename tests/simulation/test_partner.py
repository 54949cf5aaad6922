"""`ldctpipe simulate` on DICOM cohorts, real CT and NIfTI."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from ldctpipe.cli.app import run
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.simulation.cohort import make_phantom_cohort


@pytest.fixture(scope="module")
def full_dose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the full-dose half of a small phantom cohort."""
    out = tmp_path_factory.mktemp("partner") / "cohort"
    make_phantom_cohort(out, 2, 3, seed=4, size=256)
    return out / "full_3mm"


def test_writes_a_derived_partner_in_the_same_folders(full_dose: Path, tmp_path: Path) -> None:
    out = tmp_path / "low"

    assert run(["simulate", str(full_dose), str(out), "--dose", "0.25", "--seed", "3", "--quiet"]) == 0

    for patient in ("L001", "L002"):
        files = sorted((out / patient / "full_3mm").glob("*.dcm"))
        assert len(files) == 3
        image = pydicom.dcmread(files[0])
        assert image.ImageType[0] == "DERIVED"
        assert "simulated reduced dose" in image.DerivationDescription
        assert image.DerivationCodeSequence[-1].CodeValue == "DOSERED"
        (source,) = discover(full_dose / patient).series
        (partner,) = discover(out / patient).series
        assert (partner.study_uid, partner.frame_of_reference_uid) == (source.study_uid, source.frame_of_reference_uid)
        assert np.array_equal(partner.positions_mm, source.positions_mm)
        difference = read_volume(partner).hu.astype(float) - read_volume(source).hu
        assert 5 < difference[:, 96:160, 96:160].std() < 60
    records = json.loads((out / "simulation.json").read_text())["series"]
    assert set(records) == {series.key for series in discover(full_dose).series}
    assert all(record["dose"] == 0.25 and record["seed"] == 3 and record["quanta"] > 0 for record in records.values())
    assert "L001" not in (out / "simulation.json").read_text()


def test_full_dose_keeps_the_stored_pixels(full_dose: Path, tmp_path: Path) -> None:
    assert run(["simulate", str(full_dose / "L001"), str(tmp_path / "same"), "--dose", "1", "--quiet"]) == 0

    (source,), (partner,) = discover(full_dose / "L001").series, discover(tmp_path / "same").series
    for before, after in zip(source.slices, partner.slices, strict=True):
        assert pydicom.dcmread(before.path).PixelData == pydicom.dcmread(after.path).PixelData


def test_nifti_stays_nifti(full_dose: Path, tmp_path: Path) -> None:
    truth = full_dose.parent / "truth" / "L002.nii"

    assert run(["simulate", str(truth), str(tmp_path / "low"), "--quanta", "1e6", "--quiet"]) == 0

    before, after = nibabel.load(truth), nibabel.load(tmp_path / "low" / "L002.nii")
    assert np.array_equal(before.affine, after.affine)
    assert after.get_data_dtype() == np.int16
    assert (after.get_fdata() - before.get_fdata()).std() > 3


@pytest.mark.parametrize("dose", ["0", "-1", "1.5", "nan"])
def test_an_impossible_dose_is_a_usage_error(
    full_dose: Path, tmp_path: Path, dose: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", str(full_dose), str(tmp_path / "low"), f"--dose={dose}"]) == 2

    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "low").exists()


def test_a_missing_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(tmp_path / "nowhere"), str(tmp_path / "low")]) == 65

    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["body/A072894", "body/A048383"])
def test_real_ct_gets_noise_and_keeps_its_mean(real_data: Path, tmp_path: Path, folder: str) -> None:
    assert run(["simulate", str(real_data / folder), str(tmp_path / "low"), "--quiet"]) == 0

    sources, partners = discover(real_data / folder).series, discover(tmp_path / "low").series
    for source in sources:
        full = read_volume(source)
        low = read_volume(next(p for p in partners if p.slices[0].position_mm == source.slices[0].position_mm))
        soft = (full.hu > 0) & (full.hu < 100) & full.measured()
        change = low.hu.astype(float)[soft] - full.hu[soft]
        assert abs(change.mean()) < 1.5
        assert 5 < change.std() < 150
        assert np.array_equal(low.hu[~full.measured()], full.hu[~full.measured()])

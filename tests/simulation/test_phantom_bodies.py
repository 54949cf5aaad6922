"""Bodies from infants to heavy adults, heads, and arms beside the body: sizes, HU, noise, layouts, valid DICOM."""

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

from ldctpipe.data.layouts import MayoSeries, patients_in
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import UsageError
from ldctpipe.simulation.cohort import make_phantom_cohort
from ldctpipe.simulation.phantom import REGIONS, make_patient, noise_free_slices
from ldctpipe.simulation.phantom_choices import Arms, BodySize, Like

CUTOFF_PER_MM = 0.775
WATER_PER_MM = 0.0192
# Lateral and front-to-back widths in mm that each size may have (around those of AAPM TG-204).
WIDTHS_MM = {
    BodySize.INFANT: ((125, 185), (100, 150)),
    BodySize.CHILD: ((180, 280), (140, 220)),
    BodySize.ADULT: ((270, 420), (180, 280)),
    BodySize.LARGE: ((370, 480), (250, 340)),
}


def _slice(region: str, build: BodySize = BodySize.ADULT, arms: Arms = Arms.UP) -> tuple[np.ndarray, float]:
    patient = make_patient("P", 0, 5, 1, 128, 3.0, 2.0, regions=(region,), build=build, arms=arms)
    hu, _ = noise_free_slices(patient, CUTOFF_PER_MM, 1)
    return hu[0], patient.subject.pixel_mm


def _tissue(hu: np.ndarray) -> np.ndarray:
    """Return a mask of the body without table and without what it encloses."""
    return hu > -180


@pytest.mark.parametrize("region", ["thorax", "abdomen", "pelvis"])
@pytest.mark.parametrize("build", list(WIDTHS_MM))
def test_bodies_are_as_big_as_they_say(region: str, build: BodySize) -> None:
    hu, pixel_mm = _slice(region, build)
    columns, rows = (np.flatnonzero(_tissue(hu).sum(axis=axis) > 2) for axis in (0, 1))
    lateral, depth = WIDTHS_MM[build]

    assert lateral[0] <= np.ptp(columns) * pixel_mm <= lateral[1]
    assert depth[0] <= np.ptp(rows) * pixel_mm <= depth[1]
    assert _tissue(hu)[:, [0, -1]].mean() < 0.02  # the field of view shows the whole body


@pytest.mark.parametrize("region", ["thorax", "abdomen"])
def test_arms_beside_the_body_starve_lateral_rays(region: str) -> None:
    most = []
    for arms in (Arms.UP, Arms.DOWN):
        hu, pixel_mm = _slice(region, arms=arms)
        most.append(float((np.maximum(0, 1 + hu / 1000) * WATER_PER_MM * pixel_mm).sum(axis=1).max()))

    assert most[1] > most[0] + 1.2  # less than a third of the quanta arrive


def test_table_is_as_wide_for_children_as_for_adults() -> None:
    widths_mm = []
    for build in (BodySize.CHILD, BodySize.ADULT):
        hu, pixel_mm = _slice("thorax", build, Arms.DOWN)
        below_body = np.flatnonzero(_tissue(hu).sum(axis=1) > 5)[-1] + round(8 / pixel_mm)
        widths_mm.append(np.ptp(np.flatnonzero((hu[below_body:] > -960).any(axis=0))) * pixel_mm)

    assert widths_mm == pytest.approx([356, 356], abs=12)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small cohort of heads in the plain layout."""
    out = tmp_path_factory.mktemp("heads") / "out"
    make_phantom_cohort(out, 2, 6, 7, size=256, like=Like.PLAIN, regions=("head",), build=BodySize.ADULT)
    return out


def _hu(folder: Path) -> np.ndarray:
    (series,) = discover(folder).series
    return read_volume(series).hu.astype(np.float64)


def _truth(out: Path, patient: str) -> np.ndarray:
    return nibabel.load(out / "truth" / f"{patient}.nii").get_fdata().transpose(2, 1, 0)


def test_heads_have_skull_brain_and_fluid(heads: Path) -> None:
    truth = _truth(heads, "L001")
    brain = truth[(truth > 20) & (truth < 46)]
    grey, white = (brain[np.abs(brain - hu) < 5].mean() for hu in (38, 28))

    assert truth.max() > 700  # cortical bone
    assert 6 < grey - white < 12
    assert ((truth > 3) & (truth < 14)).mean() > 0.004  # ventricles and sulci
    assert 0.08 < ((truth > 20) & (truth < 46)).mean() < 0.5


def test_noise_of_heads_is_lower_than_of_bodies(heads: Path) -> None:
    for patient in ("L001", "L002"):
        truth = _truth(heads, patient)
        brain = (truth > 20) & (truth < 46)
        full, low = (_hu(heads / patient / dose) - truth for dose in ("full_dose", "low_dose"))
        assert 3.3 < full[brain].std() < 5.2
        assert 3.6 < low[brain].var() / full[brain].var() < 4.8


def test_lesions_of_the_head_are_where_the_table_says(heads: Path) -> None:
    with (heads / "truth" / "inserts.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if float(row["radius_mm"]) > 4]

    assert rows
    for row in rows:
        truth, y, x = _truth(heads, row["patient"])[int(row["slice"])], int(row["row"]), int(row["column"])
        assert truth[y, x] == pytest.approx(float(row["hu"]), abs=0.6)
        assert float(row["diameter_mm"]) == pytest.approx(2 * float(row["radius_mm"]), abs=0.02)


@pytest.mark.parametrize("like", list(Like))
def test_layouts_are_recognised(tmp_path: Path, like: Like) -> None:
    make_phantom_cohort(tmp_path / "out", 2, 2, 1, size=64, like=like)

    found = patients_in(tmp_path / "out", MayoSeries())

    assert [patient.patient for patient in found] == ["L001", "L002"]
    for patient in found:
        assert patient.low_dose is not None and patient.full_dose is not None
        assert _current_ma(patient.low_dose) == pytest.approx(_current_ma(patient.full_dose) / 4, rel=0.05)


def _current_ma(folder: Path) -> float:
    (series,) = discover(folder).series
    (current_ma,) = set(read_volume(series).acquisition.tube_current_ma or ())
    return float(current_ma or 0)


def test_truth_series_is_the_volume_beside_it(heads: Path) -> None:
    assert np.array_equal(_hu(heads / "truth" / "L001"), np.clip(_truth(heads, "L001"), -1024, 3071))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_heads_are_valid_dicom(heads: Path) -> None:
    folders = {path.parent for path in heads.rglob("*.dcm")}
    assert len(folders) == 6
    for folder in folders:
        image = next(folder.glob("*.dcm"))
        report = subprocess.run(["dciodvfy", str(image)], capture_output=True, text=True, check=False)
        assert "Error" not in report.stdout + report.stderr, image


def test_mixed_cohorts_vary_and_repeat(tmp_path: Path) -> None:
    options = {"size": 64, "regions": tuple(REGIONS), "build": BodySize.MIXED, "arms": Arms.MIXED, "like": Like.PLAIN}
    for name, threads in (("one", 1), ("two", 2)):
        make_phantom_cohort(tmp_path / name, 8, 1, 3, threads=threads, **options)
    files = [sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("one", "two")]
    digests = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] for paths in files]
    patients = json.loads((tmp_path / "one" / "phantom.json").read_text())["patients"]

    assert digests[0] == digests[1]
    assert [patient["region"] for patient in patients[:4]] == ["thorax", "abdomen", "pelvis", "head"]
    assert len({patient["build"] for patient in patients}) > 2
    assert {patient["arms_down"] for patient in patients} == {True, False}
    assert not any(patient["arms_down"] for patient in patients if patient["region"] in ("pelvis", "head"))


def test_refuses_an_unknown_region(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no region"):
        make_phantom_cohort(tmp_path / "out", 1, 1, 1, regions=("knee",))

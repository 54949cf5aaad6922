"""Series that no lower dose can be simulated from, or hardly: each is refused in one sentence, or works and says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from ldctpipe.cli.app import run
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import InputError
from ldctpipe.simulation.calibrated_scan import calibrated_scan, check_volume
from ldctpipe.simulation.cohort import make_phantom_cohort
from ldctpipe.volumes.case import read_case, write_case
from ldctpipe.volumes.volume import Acquisition, Volume


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the full-dose half of a small phantom cohort of two patients."""
    out = tmp_path_factory.mktemp("unfit") / "cohort"
    make_phantom_cohort(out, 2, 3, seed=4, size=256)
    return out / "full_3mm"


def _copy(source: Path, target: Path, change: dict[str, object], codes: tuple[str, ...] = ()) -> Path:
    """Write the images under `source` into `target` with attributes changed, removed where None."""
    target.mkdir(parents=True)
    for number, path in enumerate(sorted(source.rglob("*.IMA"))):
        image = pydicom.dcmread(path)
        for keyword, value in change.items():
            if value is None:
                delattr(image, keyword)
            else:
                setattr(image, keyword, value)
        if codes:
            image.DerivationCodeSequence = [pydicom.Dataset() for _ in codes]
            for item, code in zip(image.DerivationCodeSequence, codes, strict=True):
                item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "99LDCTPIPE", code
        image.save_as(target / f"{number}.dcm")
    return target


def _refused(source: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Return the one sentence that a run ends with."""
    assert run(["simulate", str(source), str(out), "--quiet", *options]) == 65
    assert not out.exists()
    lines = capsys.readouterr().err.splitlines()
    assert "Traceback" not in "".join(lines)
    return lines[-1]


@pytest.mark.parametrize(
    ("code", "words"), [("DOSERED", "a simulated lower dose already"), ("NOISERED", "was denoised")]
)
def test_what_was_reduced_or_denoised_is_refused(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, words: str
) -> None:
    changed = _copy(scans / "L001", tmp_path / "changed", {}, (code,))

    assert words in _refused(changed, tmp_path / "low", capsys)


@pytest.mark.parametrize(
    "change",
    [
        {"PixelSpacing": None},
        {"PixelSpacing": [0.7, 1.4]},
        {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
        {"RescaleIntercept": 0},
    ],
    ids=["no spacing", "oblong pixels", "coronal", "not HU"],
)
def test_what_can_not_be_projected_is_refused(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object]
) -> None:
    changed = _copy(scans / "L001", tmp_path / "changed", change)

    assert _refused(changed, tmp_path / "low", capsys).count(". ") <= 1


def test_its_own_nifti_is_refused(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = scans.parent / "truth" / "L001.nii"
    assert run(["simulate", str(truth), str(tmp_path / "low"), "--quanta", "1e6", "--quiet"]) == 0

    assert "already" in _refused(tmp_path / "low" / "L001.nii", tmp_path / "lower", capsys)


def test_one_refused_series_does_not_stop_the_others(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = tmp_path / "cohort"
    _copy(scans / "L001", cohort / "bad", {}, ("DOSERED",))
    _copy(scans / "L002", cohort / "good", {})

    assert run(["simulate", str(cohort), str(tmp_path / "low"), "--quiet"]) == 65
    assert run(["simulate", str(cohort), str(tmp_path / "again"), "--quiet", "--keep-going"]) == 0

    said = capsys.readouterr()
    assert "1 of 2 series could not be simulated" in said.err
    assert "refused: series" in said.out
    for out in (tmp_path / "low", tmp_path / "again"):
        assert len(list(out.rglob("*.dcm"))) == 3
        record = json.loads((out / "simulation.json").read_text())
        assert len(record["series"]) == 1
        assert list(record["refused"].values()) == ["is a simulated lower dose already"]


def test_one_slice_calibrates_and_says_how_well(scans: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    source = sorted((scans / "L002").rglob("*.IMA"))[1]
    (one / "slice.dcm").write_bytes(source.read_bytes())

    scan = calibrated_scan(read_volume(discover(one).series[0]))

    assert scan.calibration.source == "fitted"
    assert any("calibrated from one slice" in warning for warning in scan.warnings)


@pytest.mark.parametrize("normal_deg", [0.0, 18.5, 30.0])
def test_a_tilted_gantry_is_no_fault(normal_deg: float) -> None:
    check_volume(_turned(normal_deg))


@pytest.mark.parametrize("normal_deg", [45.0, 90.0])
def test_a_reformatted_plane_is(normal_deg: float) -> None:
    with pytest.raises(InputError, match="away from axial"):
        check_volume(_turned(normal_deg))


def _turned(angle_deg: float) -> Volume:
    angle = np.radians(angle_deg)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.7, -0.7, 3.0])
    return Volume(np.zeros((2, 16, 16), np.int16), affine, np.array([0.0, 3.0]), acquisition=Acquisition())


@pytest.mark.parametrize("folder", ["phantom_philips_5mm", "phantom_philips_tilted", "head_ge_tilted"])
def test_test_objects_and_tilted_heads_work(real_data: Path, folder: str) -> None:
    (series,) = discover(real_data / folder).series

    scan = calibrated_scan(read_volume(series))

    assert 5e4 < scan.noise.model.quanta < 3e7
    assert scan.calibration.uncertainty is not None


def test_iterative_reconstruction_is_found_in_real_headers(real_data: Path, tmp_path: Path) -> None:
    assert run(["simulate", str(real_data / "body" / "A067967"), str(tmp_path / "low"), "--quiet"]) == 0

    records = json.loads((tmp_path / "low" / "simulation.json").read_text())["series"].values()
    assert [record["not_fbp"] for record in records] == [True, True]
    assert all(any("iterative" in warning for warning in record["warnings"]) for record in records)


def test_thin_slices_are_noisier_than_thick_ones_of_one_scan(scans: Path) -> None:
    thick = read_volume(discover(scans / "L002").series[0])
    thin = replace(thick, hu=(thick.hu + np.random.default_rng(1).normal(0, 10, thick.hu.shape)).astype(np.int16))

    assert calibrated_scan(thin).noise.model.quanta < calibrated_scan(thick).noise.model.quanta


def test_a_case_stays_a_case_with_its_history(scans: Path, tmp_path: Path) -> None:
    volume = read_volume(discover(scans / "L001").series[0])
    case = tmp_path / "case"
    case.mkdir()
    write_case(case, volume)

    assert run(["simulate", str(case), str(tmp_path / "low"), "--dose", "0.5,0.1", "--quiet"]) == 0

    half, tenth = (read_case(tmp_path / "low" / name) for name in ("dose_0.5", "dose_0.1"))
    assert half.provenance["simulation"]["dose"] == 0.5
    assert tenth.provenance["source_key"] == volume.key
    assert len({volume.key, half.key, tenth.key}) == 3
    middle = np.s_[:, 96:160, 96:160]
    assert (tenth.hu - volume.hu)[middle].std() > 2 * (half.hu - volume.hu)[middle].std()
    with pytest.raises(InputError, match="already"):
        check_volume(half)


def test_several_doses_go_into_a_folder_each(scans: Path, tmp_path: Path) -> None:
    assert run(["simulate", str(scans / "L001"), str(tmp_path / "low"), "--dose", "0.5,0.25", "--quiet"]) == 0

    for dose in (0.5, 0.25):
        folder = tmp_path / "low" / f"dose_{dose:g}"
        (series,) = discover(folder).series
        (record,) = json.loads((folder / "simulation.json").read_text())["series"].values()
        assert record["dose"] == dose
        header = pydicom.dcmread(series.slices[0].path, stop_before_pixels=True)
        assert f"reduced dose: {dose:g}" in header.DerivationDescription
        assert header.DerivationDescription.endswith("}")
        assert len(header.DerivationDescription) <= 1024


def test_doses_of_a_range_are_recorded_slice_by_slice(scans: Path, tmp_path: Path) -> None:
    options = ["--dose-range", "0.05:0.6", "--each-slice", "--vary", "--seed", "3", "--quiet"]
    for name, threads in (("one", "1"), ("two", "2")):
        source, out = str(scans / "L001"), str(tmp_path / name)
        assert run(["simulate", source, out, *options, "--threads", threads]) == 0

    (record,) = json.loads((tmp_path / "one" / "simulation.json").read_text())["series"].values()
    assert [row["slice"] for row in record["drawn"]] == [0, 1, 2]
    assert len({row["seed"] for row in record["drawn"]}) == 3
    assert all(0.05 <= row["dose"] <= 0.6 for row in record["drawn"])
    first, second = (read_volume(discover(tmp_path / name).series[0]).hu for name in ("one", "two"))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    "options",
    [
        ["--dose", "0.5,0"],
        ["--dose", "half"],
        ["--dose-range", "0.6:0.05"],
        ["--dose-range", "0.5"],
        ["--each-slice"],
        ["--quanta", "-1"],
        ["--quanta", "nan"],
        ["--kernel-cutoff", "0"],
        ["--electronic", "-1e-5"],
    ],
)
def test_impossible_options_are_usage_errors(
    scans: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", str(scans / "L001"), str(tmp_path / "low"), *options]) == 2

    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "low").exists()


def test_overrides_stand_as_they_are_given(scans: Path, tmp_path: Path) -> None:
    options = ["--quanta", "2e6", "--kernel-cutoff", "0.9", "--electronic", "1e-4", "--quiet"]
    assert run(["simulate", str(scans / "L001"), str(tmp_path / "low"), *options]) == 0

    (record,) = json.loads((tmp_path / "low" / "simulation.json").read_text())["series"].values()
    assert (record["quanta"], record["quanta_source"]) == (2e6, "given")
    assert (record["kernel_cutoff_per_mm"], record["electronic_ratio"]) == (0.9, 1e-4)


def test_not_a_number_in_nifti_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hu = np.full((32, 32, 2), 40.0, dtype=np.float32)
    hu[3, 3, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([-1.0, -1.0, 3.0, 1.0])), tmp_path / "nan.nii")

    assert "NaN" in _refused(tmp_path / "nan.nii", tmp_path / "low", capsys)

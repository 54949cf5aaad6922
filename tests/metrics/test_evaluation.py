"""`evaluate` on cohorts of known images: what it writes, and what it says to scans that do not fit."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from math import log10
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from ldctpipe.cli.app import run
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.writing import Derivation, write_derived_series
from ldctpipe.errors import ExitCode, InputError, UsageError
from ldctpipe.metrics.evaluation import evaluate_cohort
from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.metrics.samples import read_samples
from ldctpipe.volumes.case import read_case, write_case
from ldctpipe.volumes.volume import Volume

MAYO = find_protocol("mayo-soft")
SHIFT_HU = {"low_dose": 20, "denoised": 5}  # PSNR is 20·log10(400/shift) wherever nothing is clipped


def body(seed: int, slices: int = 6) -> np.ndarray:
    """A soft-tissue ellipse with texture between 0 and 100 HU in air, (slices, 96, 96) int16."""
    rows, columns = np.mgrid[:96, :96]
    inside = np.hypot((rows - 48) / 36, (columns - 48) / 42) < 1
    texture = 50 + 60 * gaussian_filter(np.random.default_rng(seed).normal(size=(slices, 96, 96)), (0, 2, 2))
    return np.rint(np.where(inside, texture.clip(0, 100), -1000)).astype(np.int16)


def shifted(hu: np.ndarray, by_hu: int) -> np.ndarray:
    """`hu` shifted inside the body only: clipped air stays equal."""
    return np.where(hu > -500, hu + by_hu, hu).astype(np.int16)


def put(folder: Path, hu: np.ndarray, key: str) -> None:
    affine = np.diag([0.8, 0.8, 3.0, 1.0])
    folder = folder / key
    folder.mkdir(parents=True)
    write_case(folder, Volume(hu, affine, 3.0 * np.arange(len(hu)), key=key))


def put_patient(root: Path, name: str, seed: int, extra_low_slices: int = 0) -> None:
    full = body(seed, 6 + extra_low_slices)
    put(root / "cases" / name / "full_dose", full[:6], f"f{seed:011d}")
    put(root / "cases" / name / "low_dose", shifted(full, SHIFT_HU["low_dose"]), f"a{seed:011d}")
    put(root / "denoised" / name, shifted(full, SHIFT_HU["denoised"]), f"d{seed:011d}")
    manifest = {"format": "ldctpipe-denoised@1", "model": {"name": "mini", "sha256": "0" * 64}, "series": []}
    (root / "denoised" / name / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    for seed, name in enumerate(("L001", "L002"), start=1):
        put_patient(tmp_path, name, seed)
    return tmp_path


def evaluate(root: Path, **options: object) -> str:
    return evaluate_cohort(
        root / "denoised", root / "cases", root / "cases", root / "metrics", MAYO, threads=1, **options
    )


def strict(text: str) -> dict:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_known_shifts_come_back_in_every_file(cohort):
    table = evaluate(cohort)

    out = cohort / "metrics"
    summary = strict((out / "summary.json").read_text())
    inside = (body(1)[0] > -500).mean()
    for method, shift_hu in (("low_dose", 20), ("mini", 5)):
        found = summary["methods"][method]
        assert found["bias_hu"]["mean"] == pytest.approx(shift_hu, abs=1e-6)
        assert found["rmse_hu"]["mean"] == pytest.approx(shift_hu * inside**0.5, rel=1e-3)
        assert found["psnr_db"]["mean"] == pytest.approx(20 * log10(400 / (shift_hu * inside**0.5)), abs=0.01)
    assert summary["gains"]["mini"]["psnr_db"]["mean"] == pytest.approx(20 * log10(4), abs=0.01)
    assert (summary["protocol"], summary["n_patients"], summary["n_slices"]) == ("mayo-soft@1", 2, 12)
    assert summary["models"]["mini"]["sha256"] == "0" * 64
    assert summary["tests"] == [] and "6 patients" in summary["notes"]["tests"]
    assert len(summary["inputs"]) == 6
    slices = pd.read_csv(out / "slices.csv")
    assert len(slices) == 2 * 12
    pd.testing.assert_frame_equal(slices, pd.read_parquet(out / "slices.parquet"), rtol=1e-4, check_dtype=False)
    assert (out / "table.txt").read_text().strip() == table.strip()
    assert "mini" in table and "not comparable" in table
    rows = [line for line in (out / "results_mqc.tsv").read_text().splitlines() if not line.startswith("#")]
    assert len(rows) == 1 + 4 and len({len(row.split("\t")) for row in rows}) == 1


def test_the_samples_hold_the_measured_images(cohort):
    evaluate(cohort)
    samples = read_samples(cohort / "metrics" / "samples.npz")
    assert {sample.patient for sample in samples} == {"L001", "L002"}
    first = samples[0]
    index = round(first.position_mm / 3)
    np.testing.assert_array_equal(first.hu[2], body(1)[index])
    np.testing.assert_array_equal(first.hu[0], shifted(body(1), 20)[index])
    assert first.pixel_mm == pytest.approx((0.8, 0.8))


def test_the_same_inputs_give_the_same_files(cohort):
    evaluate(cohort)
    first = {file.name: file.read_bytes() for file in (cohort / "metrics").iterdir()}
    evaluate(cohort, overwrite=True)
    again = {file.name: file.read_bytes() for file in (cohort / "metrics").iterdir()}
    assert {name for name in first if first[name] != again[name]} <= {"samples.npz"}  # zip entries carry the time


def test_overwriting_never_replaces_an_input(cohort):
    before = sorted(cohort.rglob("*"))
    for name in ("denoised", "cases"):
        with pytest.raises(UsageError, match="would replace the input"):
            evaluate_cohort(
                cohort / "denoised", cohort / "cases", cohort / "cases", cohort / name, MAYO, overwrite=True
            )
    assert sorted(cohort.rglob("*")) == before


def test_six_patients_get_a_test(tmp_path):
    for seed in range(1, 7):
        put_patient(tmp_path, f"P{seed}", seed)
    evaluate(tmp_path)
    tests = strict((tmp_path / "metrics" / "summary.json").read_text())["tests"]
    assert {test["measure"] for test in tests} == {"psnr_db", "ssim", "rmse_hu"}
    assert all(test["n_patients"] == 6 and test["p"] == pytest.approx(0.03125) for test in tests)


def test_one_series_each_without_a_manifest(tmp_path):
    put_patient(tmp_path, "L001", 1)
    (tmp_path / "denoised" / "L001" / "manifest.json").unlink()
    case = tmp_path / "cases" / "L001"
    (denoised,) = (tmp_path / "denoised" / "L001").iterdir()
    evaluate_cohort(denoised, case / "full_dose", case / "low_dose", tmp_path / "out", MAYO, threads=1)
    summary = strict((tmp_path / "out" / "summary.json").read_text())
    assert list(summary["methods"]) == ["low_dose", "denoised"]
    assert summary["methods"]["denoised"]["psnr_db"]["sd"] is None
    assert any("sd" in where for where in summary["notes"])


def test_a_samplesheet_says_where_the_scans_are(cohort):
    sheet = cohort / "sheet.csv"
    rows = [f"{p},cases/{p}/low_dose,cases/{p}/full_dose,test" for p in ("L001", "L002")]
    sheet.write_text("\n".join(["patient,low_dose,full_dose,split", *rows]))
    evaluate_cohort(cohort / "denoised", sheet, sheet, cohort / "out", MAYO, threads=1)
    assert strict((cohort / "out" / "summary.json").read_text())["n_patients"] == 2


def test_slices_and_patients_without_partner_are_counted_and_said(tmp_path, capsys):
    put_patient(tmp_path, "L001", 1, extra_low_slices=2)
    put(tmp_path / "denoised" / "L009", body(9), "d9")
    evaluate(tmp_path)
    summary = strict((tmp_path / "metrics" / "summary.json").read_text())
    assert (summary["n_slices"], summary["left_out_slices"]) == (6, 2)
    assert any("L009" in text for text in summary["warnings"])
    assert "2 slices of patient L001" in capsys.readouterr().err


def test_a_perfect_denoiser_has_no_finite_psnr_and_the_summary_says_so(tmp_path):
    put_patient(tmp_path, "L001", 1)
    full = body(1)
    put(tmp_path / "perfect" / "L001", full, "d1")
    evaluate_cohort(tmp_path / "perfect", tmp_path / "cases", tmp_path / "cases", tmp_path / "out", MAYO, threads=1)
    summary = strict((tmp_path / "out" / "summary.json").read_text())
    assert summary["methods"]["denoised"]["psnr_db"]["mean"] is None
    assert summary["methods"]["denoised"]["ssim"]["mean"] == pytest.approx(1)
    assert "infinite" in summary["notes"]["methods.denoised.psnr_db"]


def test_several_models_in_one_cohort_are_refused(cohort):
    other = {"format": "ldctpipe-denoised@1", "model": {"name": "other"}, "series": []}
    (cohort / "denoised" / "L002" / "manifest.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match="another model"):
        evaluate(cohort)
    assert not (cohort / "metrics").exists()


def test_patients_that_are_not_in_the_reference_are_named(cohort):
    (cohort / "denoised" / "L001").rename(cohort / "denoised" / "X1")
    (cohort / "denoised" / "L002").rename(cohort / "denoised" / "X2")
    with pytest.raises(InputError, match="X1, X2"):
        evaluate(cohort)


@pytest.mark.parametrize(
    ("denoised", "out", "words"),
    [
        ("missing", "out", "does not exist"),
        ("empty", "out", "holds no denoised scan"),
        ("denoised", "full", "already holds files"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_65(cohort, capsys, monkeypatch, denoised, out, words):
    monkeypatch.chdir(cohort)
    (cohort / "empty").mkdir()
    put(cohort / "full", body(1), "k")
    code = run(["evaluate", denoised, "cases", out, "--low-dose", "cases", "--quiet"])
    error = capsys.readouterr().err
    assert code == ExitCode.INPUT
    assert words in error and len(error.strip().splitlines()) == 1


def test_an_unknown_protocol_is_a_usage_error(cohort, monkeypatch, capsys):
    monkeypatch.chdir(cohort)
    code = run(["evaluate", "denoised", "cases", "out", "--low-dose", "cases", "--protocol", "soft"])
    assert code == ExitCode.USAGE
    assert "mayo-soft@1" in capsys.readouterr().err


def test_folders_may_be_links_as_workflow_engines_stage_them(cohort, tmp_path):
    staged = tmp_path / "task"
    for kind in ("denoised", "cases"):
        (staged / kind).mkdir(parents=True)
        for patient in (cohort / kind).iterdir():
            (staged / kind / patient.name).symlink_to(patient)
    evaluate(staged)
    assert strict((staged / "metrics" / "summary.json").read_text())["n_patients"] == 2


def test_real_dicom_with_padding_is_measured_inside_the_scan_circle_only(real_data, tmp_path):
    """A derived series that is 7 HU brighter everywhere but in the padding has a bias and an RMSE of 7 HU."""
    (series,) = discover(sorted((real_data / "body").iterdir())[0]).series[:1]
    volume = read_volume(series)
    assert volume.padding is not None and volume.padding.any()
    brighter = np.where(volume.padding, volume.hu, volume.hu + 7).astype(np.float32)
    derivation = Derivation(
        "7 HU brighter", "TEST", "test", "test", "test", "0", None, "brighter by 7", datetime(2026, 1, 1)
    )
    for folder in ("denoised", "reference"):
        (tmp_path / folder).mkdir()
    write_derived_series(series, brighter, tmp_path / "denoised", derivation)
    for image in series.slices:
        shutil.copy(image.path, tmp_path / "reference")

    protocol = find_protocol("full-range")
    reference = tmp_path / "reference"
    evaluate_cohort(tmp_path / "denoised", reference, reference, tmp_path / "out", protocol, threads=1)

    found = strict((tmp_path / "out" / "summary.json").read_text())["methods"]["denoised"]
    assert found["bias_hu"]["mean"] == pytest.approx(7, abs=1e-3)
    clipped = (volume.hu[volume.measured()] < -1000).mean()
    assert found["rmse_hu"]["mean"] == pytest.approx(7, rel=clipped + 0.01)


def test_what_a_bad_model_left_is_measured_and_not_refused(tmp_path, capsys):
    put_patient(tmp_path, "L001", 1)
    hu = np.random.default_rng(8).normal(0, 300, (6, 96, 96)).astype(np.int16)
    folder = tmp_path / "denoised" / "L001"
    shutil.rmtree(folder / "d00000000001")
    put(folder, hu, "d00000000001")
    evaluate(tmp_path)
    summary = strict((tmp_path / "metrics" / "summary.json").read_text())
    assert summary["gains"]["mini"]["psnr_db"]["mean"] < -5
    assert "6 of 6 images differ from their partners" in capsys.readouterr().err

    (folder / "manifest.json").unlink()  # of images that may be anyone's
    with pytest.raises(InputError, match="has no matching denoised series"):
        evaluate(tmp_path, overwrite=True)


def test_all_measures_of_a_row_are_means_over_the_same_slices_and_the_note_counts_the_others(tmp_path):
    """One slice of air lies outside the window; in another one the denoised image equals the full dose."""
    full, random = body(1), np.random.default_rng(5)
    full[5] = -1000
    images = {"denoised/L001": shifted(full, 5), "cases/L001/low_dose": shifted(full, 20), "cases/L001/full_dose": full}
    images["denoised/L001"][2] = full[2]
    for number, (folder, hu) in enumerate(images.items()):
        air = hu[5] + np.rint(random.normal(0, 20, hu[5].shape)).astype(np.int16)
        put(tmp_path / folder, np.concatenate([hu[:5], air[None]]), f"k{number}")

    table = evaluate(tmp_path)

    summary = strict((tmp_path / "metrics" / "summary.json").read_text())
    assert (summary["n_slices"], summary["n_averaged_slices"], summary["left_out_slices"]) == (6, 4, 0)
    assert "6 slices (4 of them in the means)" in table
    rows = pd.read_csv(tmp_path / "metrics" / "slices.csv")
    for method in ("low_dose", "denoised"):
        of_four = rows[(rows["method"] == method) & rows["slice_position_mm"].isin([0, 3, 9, 12])]
        for measure in ("psnr_db", "ssim", "rmse_hu", "bias_hu", "noise_sd_hu"):
            assert summary["methods"][method][measure]["mean"] == pytest.approx(of_four[measure].mean(), rel=1e-4)
            assert summary["methods"][method][measure]["slice_sd"] == pytest.approx(of_four[measure].std(), abs=1e-4)
    (note,) = (text for where, text in summary["notes"].items() if where == "methods.*, patients.*")
    assert "2 slice(s)" in note and "1 in which denoised equals" in note and "1 in which all images are equal" in note
    assert any(note in warning for warning in summary["warnings"])


def test_a_patient_without_any_slice_in_the_means_is_still_listed(tmp_path):
    put_patient(tmp_path, "L001", 1)
    for role, key in (("denoised/L002", "d2"), ("cases/L002/low_dose", "a2"), ("cases/L002/full_dose", "f2")):
        put(tmp_path / role, body(2, 3) - 1500 * (body(2, 3) > -500).astype(np.int16), key)
    shutil.copy(tmp_path / "denoised" / "L001" / "manifest.json", tmp_path / "denoised" / "L002")

    evaluate(tmp_path)

    summary = strict((tmp_path / "metrics" / "summary.json").read_text())
    assert summary["patients"]["L002"]["mini"]["ssim"] is None and summary["n_patients"] == 2
    assert summary["methods"]["mini"]["psnr_db"]["mean"] == summary["patients"]["L001"]["mini"]["psnr_db"]
    assert summary["methods"]["mini"]["ssim"]["mean"] == summary["patients"]["L001"]["mini"]["ssim"]


def test_a_full_dose_with_more_slices_is_measured_where_both_have_one(tmp_path):
    put_patient(tmp_path, "L001", 1)
    shutil.rmtree(tmp_path / "cases" / "L001" / "low_dose")
    shutil.rmtree(tmp_path / "denoised" / "L001" / "d00000000001")
    full = body(1)
    put(tmp_path / "cases" / "L001" / "low_dose", shifted(full[:5], 20), "a1")
    put(tmp_path / "denoised" / "L001", shifted(full[:4], 5), "d1")

    evaluate(tmp_path)

    summary = strict((tmp_path / "metrics" / "summary.json").read_text())
    assert (summary["n_slices"], summary["left_out_slices"]) == (4, 2)
    assert any("2 slices of patient L001" in text for text in summary["warnings"])


def test_figures_of_rows_in_opposite_order_are_the_same(tmp_path):
    """The low dose went through a tool that stores rows from posterior to anterior, as dcm2niix does."""
    put_patient(tmp_path, "L001", 1)
    evaluate(tmp_path)
    expected = strict((tmp_path / "metrics" / "summary.json").read_text())["methods"]
    low = tmp_path / "cases" / "L001" / "low_dose" / "a00000000001"
    hu = read_case(low).hu[:, ::-1].copy()
    affine = np.diag([0.8, -0.8, 3.0, 1.0])
    affine[1, 3] = 0.8 * 95
    write_case(low, Volume(hu, affine, 3.0 * np.arange(len(hu)), key=low.name))

    evaluate(tmp_path, overwrite=True)

    found = strict((tmp_path / "metrics" / "summary.json").read_text())["methods"]
    assert found == expected

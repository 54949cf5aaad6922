"""`evaluate` on several methods: the same patients, slices and pixels for all, and each pair compared."""

from __future__ import annotations

import json
from math import log10
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode, InputError, UsageError
from ldctpipe.metrics.compared_cohort import DenoisedScans, named_scans
from ldctpipe.metrics.evaluation import evaluate_cohort
from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.metrics.samples import read_samples
from ldctpipe.metrics.summary_file import read_summary
from ldctpipe.reporting.page import write_report
from ldctpipe.volumes.case import write_case
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.volume import Volume

MAYO = find_protocol("mayo-soft")
PATIENTS = tuple(f"P{number}" for number in range(1, 8))
SHIFT_HU = {"mini": 4, "red-cnn": 2}
LOW_SHIFT_HU = 20


def body(seed: int) -> np.ndarray:
    rows, columns = np.mgrid[:80, :80]
    inside = np.hypot((rows - 40) / 30, (columns - 40) / 35) < 1
    texture = 50 + 60 * gaussian_filter(np.random.default_rng(seed).normal(size=(3, 80, 80)), (0, 2, 2))
    return np.rint(np.where(inside, texture.clip(0, 100), -1000)).astype(np.int16)


def shifted(hu: np.ndarray, by_hu: int) -> np.ndarray:
    return np.where(hu > -500, hu + by_hu, hu).astype(np.int16)


def put(folder: Path, hu: np.ndarray, key: str, padding: Padding | None = None) -> None:
    folder = folder / key
    folder.mkdir(parents=True)
    affine = np.diag([0.8, 0.8, 3.0, 1.0])
    write_case(folder, Volume(hu, affine, 3.0 * np.arange(len(hu)), key=key, padding=padding))


def put_method(root: Path, method: str, patient: str, hu: np.ndarray, model: str | None = None) -> None:
    put(root / method / patient, hu, f"d{patient[1:]:0>11}")
    manifest = {"format": "ldctpipe-denoised@1", "model": {"name": model or method}, "series": []}
    (root / method / patient / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cohort")
    for seed, patient in enumerate(PATIENTS):
        full = body(seed)
        put(root / "cases" / patient / "full_dose", full, f"f{seed:011d}")
        put(root / "cases" / patient / "low_dose", shifted(full, LOW_SHIFT_HU), f"a{seed:011d}")
        for method, shift_hu in SHIFT_HU.items():
            put_method(root, method, patient, shifted(full, shift_hu + seed % 2))
    return root


def evaluate(root: Path, out: Path, *denoised: str, **options: object) -> dict:
    scans = [named_scans(text.format(root)) for text in denoised]
    evaluate_cohort(scans, root / "cases", root / "cases", out, MAYO, threads=1, **options)
    return read_summary(out / "summary.json")


@pytest.fixture(scope="module")
def both(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in which both methods were evaluated together."""
    folder = tmp_path_factory.mktemp("both")
    evaluate(cohort, folder / "metrics", "{}/mini", "{}/red-cnn")
    return folder


def test_both_methods_have_the_figures_that_they_have_alone(cohort, both, tmp_path):
    together = read_summary(both / "metrics" / "summary.json")
    assert list(together["methods"]) == ["low_dose", "mini", "red-cnn"]
    for method in SHIFT_HU:
        alone = evaluate(cohort, tmp_path / method, f"{{}}/{method}")
        for name in ("low_dose", method):
            assert together["methods"][name] == alone["methods"][name]
    rows = pd.read_csv(both / "metrics" / "slices.csv")
    assert list(rows["method"][:3]) == list(together["methods"]) and len(rows) == 3 * 3 * len(PATIENTS)


def test_models_are_compared_with_the_low_dose_and_with_each_other(both):
    summary = read_summary(both / "metrics" / "summary.json")
    found = {(c["method"], c["baseline"]): c for c in summary["comparisons"] if c["measure"] == "psnr_db"}
    assert list(found) == [("mini", "low_dose"), ("red-cnn", "low_dose"), ("red-cnn", "mini")]
    expected = np.mean([20 * log10((4 + seed % 2) / (2 + seed % 2)) for seed in range(len(PATIENTS))])
    assert found["red-cnn", "mini"]["difference"]["mean"] == pytest.approx(expected, abs=1e-3)
    assert found["red-cnn", "mini"]["improved_percent"] == 100
    # All seven patients agree: 2/2⁷, and twice that after Holm over two models.
    assert found["mini", "low_dose"]["p"] == pytest.approx(2 / 2**7)
    assert found["mini", "low_dose"]["p_holm"] == pytest.approx(4 / 2**7)
    assert found["red-cnn", "mini"]["p_holm"] == pytest.approx(2 / 2**7)
    assert {each["role"] for each in summary["comparisons"] if each["measure"] != "psnr_db"} == {
        "secondary", "exploratory",
    }  # fmt: skip
    soft = {each["method"]: each for each in summary["equivalence"] if each["role"] == "safety"}
    assert soft["mini"]["mean"] == pytest.approx(4 + 3 / 7, abs=1e-4) and soft["mini"]["equivalent"] is False


def test_the_printed_table_names_the_endpoints_and_has_a_row_per_method(both):
    text = (both / "metrics" / "table.txt").read_text()
    for words in ("Primary endpoint, PSNR", "Safety endpoint", "red-cnn minus mini", "secondary or exploratory"):
        assert words in text
    with_figures = [
        line for line in text.splitlines() if line.startswith(("mini", "red-cnn", "low_dose")) and "±" in line
    ]
    assert len(with_figures) == 3
    assert "Primary endpoint: PSNR against low_dose." in (both / "metrics" / "results_mqc.tsv").read_text()


def test_the_page_shows_all_methods(both, tmp_path):
    write_report(both, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<h1>mini, red-cnn</h1>" in page and "Primary endpoint, PSNR" in page
    assert page.count('<th scope="row">mini</th>') + page.count('<th scope="row">red-cnn</th>') >= 2 * (2 + 4)
    assert "red-cnn: CT numbers of soft tissue are shifted" in page


def test_a_sweep_reads_the_same_file(both):
    summary = read_summary(both / "metrics" / "summary.json", of_sweep=True)
    assert summary["gains"]["mini"]["psnr_db"]["n"] == len(PATIENTS)


def test_a_named_baseline_takes_the_place_of_the_low_dose(cohort, tmp_path):
    summary = evaluate(cohort, tmp_path / "out", "{}/mini", "{}/red-cnn", baseline="mini", primary="rmse_hu")
    assert {(c["method"], c["baseline"]) for c in summary["comparisons"]} == {("red-cnn", "mini")}
    assert summary["endpoints"]["primary"] == {"measure": "rmse_hu", "against": "mini", "unit": "patient"}
    assert [c["measure"] for c in summary["comparisons"] if c["role"] == "primary"] == ["rmse_hu"]
    assert summary["gains"]["mini"]["psnr_db"]["mean"] > 10  # still against the low dose


def test_two_trainings_of_one_model_need_names(cohort, tmp_path):
    with pytest.raises(InputError, match=r"is of mini, as another method is.*NAME=PATH"):
        evaluate(cohort, tmp_path / "out", "{}/mini", "{}/mini")
    summary = evaluate(cohort, tmp_path / "out", "{}/mini", "again={}/mini")
    assert list(summary["methods"]) == ["low_dose", "mini", "again"]
    assert all(comparison["p"] is None for comparison in summary["comparisons"] if comparison["baseline"] == "mini")


def test_only_patients_slices_and_pixels_of_all_methods_are_measured(cohort, tmp_path, capsys):
    for seed, patient in enumerate(PATIENTS[:2]):
        hu = shifted(body(seed), 2)
        put_method(tmp_path, "other", patient, hu[:2] if patient == "P1" else hu)
    padding = np.zeros((3, 80, 80), dtype=bool)
    padding[:, :, 40:] = True
    put(tmp_path / "padded" / "P1", shifted(body(0), 6), "d9", Padding.of(padding))

    evaluate_cohort(
        [DenoisedScans(cohort / "mini"), DenoisedScans(tmp_path / "other"), DenoisedScans(tmp_path / "padded")],
        cohort / "cases", cohort / "cases", tmp_path / "out", MAYO, threads=1,
    )  # fmt: skip

    summary = read_summary(tmp_path / "out" / "summary.json")
    assert (summary["n_patients"], summary["n_slices"], summary["left_out_slices"]) == (1, 2, 1)
    assert summary["left_out_patients"]["P2"] == "was not denoised by denoised"
    assert summary["left_out_patients"]["P3"] == "was not denoised by other, denoised"
    assert "1 slice of patient P1 has no partner" in capsys.readouterr().err
    inside = (body(0)[:2, :, :40] > -500).mean()
    for method, shift_hu in (("low_dose", 20), ("mini", 4), ("other", 2), ("denoised", 6)):
        assert summary["methods"][method]["rmse_hu"]["mean"] == pytest.approx(shift_hu * inside**0.5, rel=1e-2)
    assert {sample.hu.shape for sample in read_samples(tmp_path / "out" / "samples.npz")} == {(3, 80, 80)}


@pytest.mark.parametrize(
    ("baseline", "words"), [("nix", "choose one of low_dose, mini, red-cnn"), ("full_dose", "nix")]
)
def test_an_unknown_baseline_is_refused(cohort, tmp_path, baseline, words):
    with pytest.raises(UsageError, match=words.replace("nix", "--baseline full_dose")):
        evaluate(cohort, tmp_path / "out", "{}/mini", "{}/red-cnn", baseline=baseline)
    assert not (tmp_path / "out").exists()


def test_methods_without_a_patient_in_common_are_refused(cohort, tmp_path):
    put_method(tmp_path, "one", "P1", body(0))
    put_method(tmp_path, "two", "P2", body(1))
    scans = [DenoisedScans(tmp_path / "one"), DenoisedScans(tmp_path / "two")]
    with pytest.raises(InputError, match="no patient in common"):
        evaluate_cohort(scans, cohort / "cases", cohort / "cases", tmp_path / "out", MAYO, threads=1)


def test_a_path_with_an_equals_sign_that_exists_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    assert named_scans("a=b") == DenoisedScans(Path("a=b"))
    assert named_scans("seed 2=runs/x=1") == DenoisedScans(Path("runs/x=1"), "seed 2")
    assert named_scans("runs/x=1") == DenoisedScans(Path("runs/x=1"))
    with pytest.raises(UsageError, match="no path"):
        named_scans("a=")


def test_the_command_takes_several_methods(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(cohort)
    arguments = ["--also", "b=red-cnn", "--low-dose", "cases", "--baseline", "a", "--quiet"]
    assert run(["evaluate", "a=mini", "cases", str(tmp_path / "out"), *arguments]) == ExitCode.DONE
    assert "PSNR minus that of a" in capsys.readouterr().out

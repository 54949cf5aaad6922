"""A planted shift of one tissue is warned of in findings, table, page and MultiQC's file, and only there."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from drawn_cases import anatomy, evaluate, put

from ldctpipe.metrics.tissue import TISSUES
from ldctpipe.metrics.tissue_shift import TissueShift
from ldctpipe.reporting.findings import findings_of
from ldctpipe.reporting.page import write_report
from ldctpipe.reporting.run_folder import read_run

LUNG = {tissue.name: tissue for tissue in TISSUES}["lung"]


def put_shifted(root: Path, name: str, seed: int, lung_hu: float) -> None:
    """Write a patient whose denoised image has the true CT numbers but for the lung."""
    random, clean = np.random.default_rng(seed), anatomy(seed, 3)
    full, low = (clean + random.normal(0, sd, clean.shape) for sd in (8, 25))
    denoised = clean + lung_hu * ((clean > -950) & (clean < -500))
    for folder, hu, key in (("cases", full, "full_dose"), ("cases", low, "low_dose"), ("denoised", denoised, "")):
        put(root / folder / name / key, hu, f"{key[:1] or 'd'}{seed:011d}")
    manifest = {"format": "ldctpipe-denoised@1", "model": {"name": "planted"}, "series": []}
    (root / "denoised" / name / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluated patient whose lung alone is 3 HU too bright."""
    root = tmp_path_factory.mktemp("planted")
    put_shifted(root, "L001", 1, lung_hu=3.0)
    evaluate(root)
    return root


def shifts_warned_of(root: Path) -> list[tuple[bool, str]]:
    return [(each.serious, each.text) for each in findings_of(read_run(root)) if "CT numbers" in each.text]


def test_a_shift_of_the_lung_alone_is_warned_of(planted):
    ((serious, text),) = shifts_warned_of(planted)
    assert serious
    assert text.startswith("CT numbers of lung are shifted by +") and "the gate is ±2 HU" in text
    assert float(text.split("by ")[1].split(" HU")[0]) == pytest.approx(3.0, abs=0.4)  # noise of the full dose is left


def test_the_table_marks_it(planted):
    lines = (planted / "metrics" / "table.txt").read_text().splitlines()
    row = next(line for line in lines[lines.index(next(x for x in lines if "CT-number" in x)) :] if "planted" in line)
    assert [cell.endswith("*") for cell in row.split()[1:]] == [tissue is LUNG for tissue in TISSUES]
    assert next(line for line in lines if line.startswith("gate")).split()[1:] == ["±2", "±2", "±2", "±1", "±2"]
    assert any(line.startswith("* planted: CT numbers of lung") for line in lines)


def test_the_page_shows_gates_and_mark(planted, tmp_path):
    write_report(planted, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "beyond the gate in lung." in page
    assert page.count("±2") >= 4 and "Patient with the largest" in page


def test_multiqc_marks_it_as_failed(planted):
    lines = (planted / "metrics" / "results_mqc.tsv").read_text().splitlines()
    config = yaml.safe_load("\n".join(line[2:] for line in lines if line.startswith("#")))
    rows = list(csv.DictReader((line for line in lines if not line.startswith("#")), delimiter="\t"))
    above, below = config["headers"]["bias_lung_hu"]["cond_formatting_rules"]["fail"]
    assert (above, below) == ({"gt": 2}, {"lt": -2})
    assert float(rows[1]["bias_lung_hu"]) > above["gt"]
    assert config["headers"]["bias_hu"]["cond_formatting_rules"]["fail"][0] == {"gt": 1}


def test_one_patient_beyond_the_gate_is_named_though_the_mean_keeps_it(tmp_path):
    for seed, lung_hu in ((1, 4.0), (2, -3.4), (3, 0.0)):
        put_shifted(tmp_path, f"L00{seed}", seed, lung_hu)
    evaluate(tmp_path)
    ((serious, text),) = shifts_warned_of(tmp_path)
    assert not serious and "in patient L001" in text and "mean keeps" in text


def test_the_gates_are_those_of_the_field():
    assert {tissue.name: tissue.gate_hu for tissue in TISSUES} == {"air": 2, "lung": 2, "fat": 2, "soft": 1, "bone": 2}


def test_a_shift_that_is_printed_as_the_gate_is_within_it():
    assert not LUNG.is_shifted(2.004) and LUNG.is_shifted(-2.01) and not LUNG.is_shifted(None)
    assert TissueShift(LUNG, None, None, None, 0).sentence is None

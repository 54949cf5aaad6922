"""Each warning appears when, and only when, there is something to warn of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ldctpipe.reporting.findings import findings_of
from ldctpipe.reporting.run_folder import read_run

MODEL = "wgan-gp-effnetv2-mini"


def edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def serious(folder: Path) -> list[str]:
    return [finding.text for finding in findings_of(read_run(folder)) if finding.serious]


def test_a_sound_run_has_no_serious_warning(full_run):
    assert serious(full_run) == []


@pytest.mark.parametrize(
    ("measure", "value", "words"),
    [
        ("bias_hu", -1.4, "shifted by -1.40 HU"),
        ("psnr_db", 5.0, "worse than the low dose in PSNR"),
        ("rmse_hu", 99.0, "worse than the low dose in RMSE"),
    ],
)  # fmt: skip
def test_a_bad_figure_is_a_serious_warning(full_run, measure, value, words):
    edit(full_run / "metrics" / "summary.json", lambda s: s["methods"][MODEL][measure].update(mean=value))
    (text,) = serious(full_run)
    assert words in text


def test_a_patient_that_the_training_has_seen_is_a_serious_warning(full_run):
    edit(full_run / "model" / "card.json", lambda card: card["data"]["validation_patients"].append("L004"))
    (text,) = serious(full_run)
    assert "L004" in text


def test_images_smoother_than_the_full_dose_are_noted(full_run):
    edit(full_run / "metrics" / "summary.json", lambda s: s["methods"][MODEL]["noise_sd_hu"].update(mean=1.0))
    assert any("smoother than the full dose" in finding.text for finding in findings_of(read_run(full_run)))


def test_six_patients_are_enough_evidence(full_run):
    edit(full_run / "metrics" / "summary.json", lambda s: s.update(n_patients=6))
    assert not any("too few" in finding.text for finding in findings_of(read_run(full_run)))


def test_a_bias_that_the_patients_do_not_show_to_be_small_is_noted(full_run):
    safety = {
        "measure": "bias_hu", "tissue": "soft", "method": MODEL, "role": "safety", "n_patients": 5, "margin_hu": 1,
        "mean": 0.6, "ci90": [-0.1, 1.3], "p": 0.1, "equivalent": False,
    }  # fmt: skip
    edit(full_run / "metrics" / "summary.json", lambda s: s.update(equivalence=[safety]))
    assert any("90 % interval is -0.10 to +1.30 HU" in finding.text for finding in findings_of(read_run(full_run)))


def test_warnings_of_the_evaluation_are_passed_on(full_run):
    edit(full_run / "metrics" / "summary.json", lambda s: s.update(warnings=["3 slices have no partner."]))
    assert any("3 slices have no partner" in finding.text for finding in findings_of(read_run(full_run)))


def test_a_patient_that_an_earlier_training_has_seen_is_a_serious_warning(full_run):
    before = {"name": "first", "data": {"patients": ["L004"]}}
    edit(full_run / "model" / "card.json", lambda card: card.update(lineage=[before]))
    (text,) = serious(full_run)
    assert "L004" in text


def test_a_training_that_diverged_is_noted(full_run):
    edit(full_run / "model" / "card.json", lambda card: card["training"].update(rollbacks=2))
    assert any("diverged 2 times" in finding.text for finding in findings_of(read_run(full_run)))

"""`ldctpipe validate-simulation`: a table and plots, and a wrong simulation is found out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from ldctpipe.cli.app import run
from ldctpipe.simulation import noise
from ldctpipe.simulation.acceptance import CHECKS
from ldctpipe.simulation.acceptance_bench import Bench


@pytest.mark.slow
def test_prints_and_writes_what_was_measured(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, series = tmp_path / "validation", real_data / "body" / "A048383"

    assert run(["validate-simulation", "--out", str(out), "--series", str(series), "--quick", "--quiet"]) == 0

    printed = capsys.readouterr().out
    rows = list(csv.DictReader((out / "validation.csv").open(encoding="utf-8")))
    assert [row["name"] for row in rows[:18]] == list(CHECKS)
    assert len(rows) == 18 + 2 * 5
    assert all(row["passed"] == "True" and row["measured"] in printed for row in rows)
    assert set(json.loads((out / "summary.json").read_text())["seconds"]) == set(CHECKS)
    for name in ("spectrum", "noise_maps", "sd_against_dose"):
        assert (out / f"{name}.png").stat().st_size > 5000
    assert run(["validate-simulation", "--out", str(out), "--quick", "--quiet", "--overwrite"]) == 0


@pytest.mark.parametrize("name", ["V4", "V13"])
def test_noise_of_a_whole_scan_on_top_of_a_scan_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = noise.dose_noise

    def counts_twice(*arguments: object, **options: object) -> object:
        return right(*arguments, **{**options, "present_dose": None})  # type: ignore[arg-type]

    monkeypatch.setattr("ldctpipe.simulation.acceptance_bench.dose_noise", counts_twice)

    assert not CHECKS[name](Bench()).passed


def test_electronic_noise_that_falls_with_dose_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "ray_variance", lambda quanta, electronic, dose: 1 / (dose * quanta))

    assert not CHECKS["V3"](Bench()).passed


def test_noise_that_shifts_the_mean_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "mean_of_logarithm", lambda expected, electronic: 0.0 * expected)

    assert not CHECKS["V17"](Bench()).passed


def test_noise_without_what_folds_back_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise.NoiseModel, "sampled", lambda model: model)

    assert not CHECKS["V16"](Bench()).passed

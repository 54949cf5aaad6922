"""Recipes at reduced size learn: 1 dB above the low dose on a slice of a patient that was not trained on."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ldctpipe.recipes.library import load_recipe

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "learning.py"
# One network for slices, one with a critic and gradient penalty, one that sees neighboring slices.
LEARNING = ("nafnet", "cpce-2d", "cpce-3d")


@pytest.fixture(scope="module")
def learning():
    """The module of the benchmark."""
    spec = importlib.util.spec_from_file_location("learning", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["learning"] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """What the benchmark found of three recipes."""
    folder = tmp_path_factory.mktemp("learning")
    out = folder / "learning.json"
    command = [sys.executable, SCRIPT, "--threads", "1", "--limit", "300", "--work", folder / "work", "--out", out]
    subprocess.run([*command, "--only", *LEARNING], check=False, capture_output=True, timeout=950)
    return {row["recipe"]: row for row in json.loads(out.read_text())}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_a_recipe_beats_its_input_by_1_db(rows, name):
    assert rows[name]["best_psnr_db"] - rows[name]["input_psnr_db"] >= 1.0, rows[name]
    assert rows[name]["verdict"] == "learns"


def test_every_trainable_recipe_has_a_reduced_size(learning):
    assert set(learning.plans()) == set(learning.trainable_recipes())


def test_every_reduced_size_fits_its_recipe(learning):
    for plan in learning.plans().values():
        assert load_recipe(plan.recipe, plan.overrides).data.batch_size <= 32


def test_committed_rows_are_of_plans(learning):
    """The table says which overrides each row was made with; a row of others must be made again."""
    plans = learning.plans()
    for row in learning.read_rows(learning.RESULTS).values():
        assert row["overrides"] == list(plans[row["recipe"]].overrides), row["recipe"]
        assert (row["verdict"] == "learns") == (row["gain_db"] is not None and row["gain_db"] >= learning.WANTED_DB)


def test_a_row_that_is_there_is_not_made_again(learning, tmp_path, monkeypatch):
    plans = learning.plans()
    row = {"recipe": "nafnet", "overrides": list(plans["nafnet"].overrides), "verdict": "learns", "iterations": 7}
    figures = {"seconds": 1.0, "cpu_seconds": 2.0, "input_psnr_db": 30.0, "best_psnr_db": 31.5, "gain_db": 1.5}
    out = tmp_path / "learning.json"
    out.write_text(json.dumps([{**row, **figures}]))
    made = []
    monkeypatch.setattr(sys, "argv", ["learning.py", "--only", "nafnet", "drl", "--out", str(out)])
    monkeypatch.setattr(learning, "make_store", lambda folder: folder)
    monkeypatch.setattr(
        learning,
        "learn",
        lambda plan, *_: made.append(plan.recipe) or {**row, **figures, "recipe": plan.recipe, "iterations": 9},
    )

    learning.main()

    assert made == ["drl"]
    assert {name: found["iterations"] for name, found in learning.read_rows(out).items()} == {"nafnet": 7, "drl": 9}


def test_the_best_validation_is_read_from_a_log_that_grows(learning, tmp_path):
    log = tmp_path / "training.csv"
    assert learning.best_validation(log) is None
    log.write_text("iteration,validation_psnr_db\n1,\n50,30.5\n75,\n100,29.9\n")

    assert learning.best_validation(log) == (50, 30.5)

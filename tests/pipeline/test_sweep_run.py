"""A sweep for real: points trained for a few iterations, one that fails, one that starts from another, and its page."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from nextflow_run import Run, run_nextflow

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]
ARGUMENTS = ("-profile", "test,cpu", "--workflow", "sweep", "--iterations", "4", "--repeats", "1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished sweep over table 1, with one training a point."""
    run = run_nextflow(tmp_path_factory.mktemp("sweep"), *ARGUMENTS, "--sweep", "table1")
    assert run.code == 0, run.said
    return run


def test_every_point_is_trained_with_its_own_value_on_one_store(finished: Run) -> None:
    cards = [json.loads(path.read_text()) for path in sorted(finished.results.glob("runs/*/model/card.json"))]
    weights = {next(each for each in card["overrides"] if "gradient_penalty" in each) for card in cards}
    assert weights == {f"algorithm.gradient_penalty={value}" for value in ("1.0", "5.0", "10.0", "20.0")}
    assert len({card["data"]["store_sha256"] for card in cards}) == 1
    assert len({card["weights"]["sha256"] for card in cards}) == 4
    assert {card["training"]["seed"] for card in cards} == {1}


def test_the_page_has_the_published_table_and_claims_nothing_that_four_iterations_cannot_show(finished: Run) -> None:
    html = (finished.results / "sweep.html").read_text()
    assert "33.24 ± 0.15" in html and "Unstable (mode collapse at epoch 45)" in html
    points = json.loads((finished.results / "sweep.json").read_text())["points"]
    assert [point["psnr_db"]["n"] for point in points] == [1, 1, 1, 1]
    assert all(point["remark"].startswith("too short to judge") for point in points)
    assert finished.stdout.strip().splitlines()[-1] == f"Report: {finished.results}/sweep.html"


def test_a_training_that_fails_leaves_the_others_and_is_named(finished: Run) -> None:
    # No slice of the cohort holds a patch of 4,096 pixels, so that point's training is refused.
    (finished.folder / "own.yaml").write_text(
        "name: own\ntitle: Own\ncolumns: {data.patch_size: patch}\n"
        "points: [{name: fails, overrides: [data.patch_size=4096]}, {name: works, overrides: [losses.pixel=1.0]}]\n"
    )
    run = run_nextflow(finished.folder, *ARGUMENTS, "--sweep", "own.yaml", "--outdir", "results", "-resume")
    assert run.code != 0
    assert json.loads((run.results / "run.json").read_text())["success"] is False
    with (run.results / "sweep.csv").open(newline="") as stream:
        assert {row["run"]: row["state"] for row in csv.DictReader(stream)} == {
            "fails.seed-1": "not trained", "works.seed-1": "finished",
        }  # fmt: skip
    assert (
        "1 of 2 runs failed and are in no figure: fails.seed-1 (not trained)"
        in (run.results / "sweep.html").read_text()
    )
    lines = run.stdout.strip().splitlines()
    assert lines[-2].endswith("TRAIN (fails.seed-1) failed:") and "a patch of 4096 pixels" in lines[-1]
    assert {row["process"] for row in run.trace() if row["status"] == "CACHED"} == {
        "PHANTOM", "SAMPLESHEET", "INGEST", "PREPARE",
    }  # fmt: skip


SMALL = 'losses.pixel=100.0, generator.channels=4, "critic.channels=[4,4,8,8]", critic.hidden=16'
STARTED = f"""name: started
title: Started
columns: {{title: method}}
points:
  - {{name: cpce-3d, recipe: cpce-3d, init: cpce-2d, overrides: [{SMALL}, data.patch_size=32]}}
  - {{name: cpce-2d, recipe: cpce-2d, overrides: [{SMALL}, data.patch_size=SIDE]}}
"""


def started_sweep(finished: Run, side: int, further: str = "") -> Run:
    (finished.folder / "started.yaml").write_text(STARTED.replace("SIDE", str(side)) + further)
    return run_nextflow(finished.folder, *ARGUMENTS, "--sweep", "started.yaml", "-resume", "--outdir", "results")


def card_of(run: Run, point: str) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((run.results / "runs" / f"{point}.seed-1" / "model" / "card.json").read_text())
    return card


def test_a_3d_network_starts_from_the_2d_one_that_the_sweep_trains(finished: Run) -> None:
    run = started_sweep(finished, side=32)
    assert run.code == 0, run.said
    (before,) = card_of(run, "cpce-3d")["lineage"]
    assert before["name"] == "cpce-2d" and card_of(run, "cpce-2d")["lineage"] == []
    assert before["weights"]["sha256"] == card_of(run, "cpce-2d")["weights"]["sha256"]
    assert "cpce-3d: started from cpce-2d." in run.stdout

    # Another 2-D training makes another 3-D one, which does not take the checkpoints of the first for its own.
    other = started_sweep(finished, side=24)
    assert other.code == 0, other.said
    (replaced,) = card_of(other, "cpce-3d")["lineage"]
    assert replaced["weights"]["sha256"] == card_of(other, "cpce-2d")["weights"]["sha256"]
    assert replaced["weights"]["sha256"] != before["weights"]["sha256"]


def test_what_would_start_from_a_training_that_fails_is_not_trained_and_the_others_are(finished: Run) -> None:
    run = started_sweep(finished, 4096, "  - {name: other, recipe: red-cnn, overrides: [generator.channels=4]}\n")
    assert run.code != 0
    with (run.results / "sweep.csv").open(newline="") as stream:
        assert {row["run"]: row["state"] for row in csv.DictReader(stream)} == {
            "cpce-3d.seed-1": "not trained", "cpce-2d.seed-1": "not trained", "other.seed-1": "finished",
        }  # fmt: skip
    lines = run.stdout.strip().splitlines()
    assert lines[-2].endswith("TRAIN (cpce-2d.seed-1) failed:") and "a patch of 4096 pixels" in lines[-1]

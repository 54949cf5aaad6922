"""A sweep for real: four points trained for a few iterations, one that fails, and what the page says of it."""

from __future__ import annotations

import csv
import json

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

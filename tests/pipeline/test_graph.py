"""The graph of processes, run with stubs: what is called for whom, what is published, what a resumed run redoes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from nextflow_run import Run
from odd_names import COMMAND, MARKER

pytestmark = pytest.mark.pipeline


def test_training_graph_publishes_all_and_resumes_without_work(nextflow: Callable[..., Run]) -> None:
    first = nextflow("-profile", "test,cpu", "-stub", "--seed", "7")
    assert first.code == 0, first.said
    tasks = Counter(row["process"] for row in first.trace())
    # The stub's sheet has three patients in folders of one name, the first of them with a full dose only.
    assert tasks == {
        "RECIPE": 1, "PHANTOM": 1, "SAMPLESHEET": 1, "SIMULATE": 1, "INGEST": 3, "PREPARE": 1,
        "TRAIN": 1, "DENOISE": 1, "EVALUATE": 1, "REPORT": 1,
    }  # fmt: skip
    for name in (
        "report.html", "run.json", "metrics/summary.json", "metrics/slices.csv", "metrics/slices.parquet",
        "model/model.safetensors", "model/card.json", "denoised/L003/manifest.json", "cohort",
        "pipeline_info/trace.txt", "pipeline_info/timeline.html", "pipeline_info/execution.html",
        "pipeline_info/graph.mmd", "pipeline_info/versions.tsv", "pipeline_info/samplesheet.csv",
    ):  # fmt: skip
        assert (first.results / name).exists(), name
    assert "report.html" in first.stdout.splitlines()[-1]

    again = nextflow("-profile", "test,cpu", "-stub", "--seed", "7", "-resume")
    assert {row["status"] for row in again.trace()} == {"CACHED"}
    assert [row["hash"] for row in again.trace()] == [row["hash"] for row in first.trace()]

    record = json.loads((again.results / "run.json").read_text())
    assert record["success"] is True
    assert record["seed"] == record["parameters"]["seed"] == 7
    assert record["parameters"]["test_patients"] == "L003"
    assert {"nextflow", "TRAIN", "REPORT"} <= set(record["versions"])
    assert "-stub" in record["command_line"]

    # What a resumed run with another iteration count must not touch is everything before the training.
    longer = nextflow("-profile", "test,cpu", "-stub", "--seed", "7", "--iterations", "9", "-resume")
    redone = {row["process"] for row in longer.trace() if row["status"] == "COMPLETED"}
    assert redone == {"TRAIN", "DENOISE", "EVALUATE", "REPORT"}


def test_weights_of_each_kind_reach_their_task(nextflow: Callable[..., Run], tmp_path: Path) -> None:
    parameters = {"backbone": "b0", "perceptual": "vgg", "feature": "inception"}
    arguments: list[str] = []
    for parameter, name in parameters.items():
        (tmp_path / f"{name} {COMMAND}.safetensors").touch()
        arguments += [f"--{parameter}_weights", f"{name} {COMMAND}.safetensors"]
    (tmp_path / "it's [a]\n{cohort,b}").mkdir()
    (tmp_path / "start, here").mkdir()
    run = nextflow(
        "-profile", "cpu", "-stub", "--input", "it's [a]\n{cohort,b}", "--init", "start, here", *arguments
    )  # fmt: skip

    assert run.code == 0, run.said
    assert not list(tmp_path.rglob(MARKER))
    found = {path.parent.parent.name: path.name for path in run.folder.glob("work/*/*/*/ldctpipe-linked/*.safetensors")}
    wanted = {f"{folder}": f"{name} {COMMAND}.safetensors" for folder, name in zip(
        ("backbone", "perceptual", "feature_weights"), parameters.values(), strict=True
    )}  # fmt: skip
    assert found == wanted


def test_denoising_graph_has_a_task_a_group_of_patients(nextflow: Callable[..., Run], tmp_path: Path) -> None:
    for name in ("cohort", "model"):
        (tmp_path / f"{name}{COMMAND}").mkdir()
    (tmp_path / f"key{COMMAND}").touch()
    run = nextflow(
        "-profile", "cpu", "-stub", "--workflow", "denoise", "--input", f"cohort{COMMAND}",
        "--model", f"model{COMMAND}", "--deidentification_key", f"key{COMMAND}",
    )  # fmt: skip
    assert run.code == 0, run.said
    assert not list(tmp_path.rglob(MARKER))
    tasks = Counter(row["process"] for row in run.trace())
    assert tasks == {"SAMPLESHEET": 1, "PLAN": 1, "DENOISE_GROUP": 2, "MANIFEST": 1}
    assert sorted(path.name for path in (run.results / "denoised").iterdir()) == ["L001", "L002", "L003"]
    records = run.results / "pipeline_info" / "patients"
    assert sorted(path.name for path in records.iterdir()) == ["L001.json", "L002.json", "L003.json"]
    for name in ("manifest.json", "manifest.csv", "pipeline_info/plan.csv"):
        assert (run.results / name).is_file()


def test_a_wrong_value_for_the_recipe_is_said_before_anything_else_runs(nextflow: Callable[..., Run]) -> None:
    run = nextflow("-profile", "test,cpu", "--set", "training.no_such_key=3")
    assert run.code != 0
    assert run.stdout.strip().splitlines()[-1].startswith("ldctpipe: --set training.no_such_key: ")
    assert {row["process"] for row in run.trace()} == {"RECIPE"}


def test_no_held_out_patient_is_said_before_the_training(nextflow: Callable[..., Run]) -> None:
    run = nextflow("-profile", "cpu", "--phantom_patients", "1", "--phantom_slices", "3")
    assert run.code != 0
    assert "no patient of the samplesheet is held out; name at least one with --test_patients." in run.said
    assert "TRAIN (" not in run.said


def test_sweep_prepares_once_and_trains_every_run_that_is_new(nextflow: Callable[..., Run]) -> None:
    arguments = ("-profile", "test,cpu", "-stub", "--workflow", "sweep", "--sweep", "table1")
    first = nextflow(*arguments)
    assert first.code == 0, first.said
    # The stub's plan has two points, a third that is the same training as the first, and a fourth that starts from the
    # second, of two repeats each.
    assert Counter(row["process"] for row in first.trace()) == {
        "SWEEP": 1, "PHANTOM": 1, "SAMPLESHEET": 1, "SIMULATE": 1, "INGEST": 3, "PREPARE": 1,
        "TRAIN": 4, "TRAIN_GROWN": 2, "DENOISE": 6, "EVALUATE": 6, "SWEEP_REPORT": 1,
    }  # fmt: skip
    ids = ["a.seed-1", "a.seed-2", "b.seed-1", "b.seed-2", "d.seed-1", "d.seed-2"]
    for name in ("sweep.html", "sweep.csv", "sweep.json", "run.json", "runs/plan.csv", "runs/plan.json"):
        assert (first.results / name).exists(), name
    assert sorted(path.name for path in (first.results / "runs").iterdir() if path.is_dir()) == ids
    for run in ids:
        assert (first.results / "runs" / run / "model" / "model.safetensors").exists()
        assert (first.results / "runs" / run / "metrics" / "summary.json").exists()
    assert sorted(path.name for path in first.folder.glob("work/*/*/init/*")) == ["b.seed-1", "b.seed-2"]
    assert not (first.results / "denoised").exists()
    assert "sweep.html" in first.stdout.splitlines()[-1]

    again = nextflow(*arguments, "-resume")
    assert {row["status"] for row in again.trace()} == {"CACHED"}

    more = nextflow(*arguments, "-resume", "--repeats", "3")
    done = [(row["process"], row["tag"]) for row in more.trace() if row["status"] == "COMPLETED"]
    assert sorted(done) == [
        ("DENOISE", "a.seed-3 L003"), ("DENOISE", "b.seed-3 L003"), ("DENOISE", "d.seed-3 L003"),
        ("EVALUATE", "a.seed-3"), ("EVALUATE", "b.seed-3"), ("EVALUATE", "d.seed-3"),
        ("SWEEP", "plan.csv"), ("SWEEP_REPORT", "sweep.html"),
        ("TRAIN", "a.seed-3"), ("TRAIN", "b.seed-3"), ("TRAIN_GROWN", "d.seed-3"),
    ]  # fmt: skip


def test_a_wrong_point_of_a_sweep_is_said_before_anything_else_runs(
    nextflow: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(
        "name: own\ntitle: Own\ncolumns: {losses.pixel: x}\npoints: [{name: a, overrides: [losses.pixle=1.0]}]\n"
    )
    run = nextflow("-profile", "test,cpu", "--workflow", "sweep", "--sweep", "own.yaml")
    assert run.code != 0
    said = "ldctpipe: sweep own, point a: losses.pixle: the recipe has no such key; "
    assert run.stdout.strip().splitlines()[-1].startswith(said)
    assert {row["process"] for row in run.trace()} == {"SWEEP"}

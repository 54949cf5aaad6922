"""What a run leaves about itself, well or not, and what is looked at before its first task; with stubs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from nextflow_run import REPOSITORY, Run
from rocrate.rocrate import ROCrate

pytestmark = pytest.mark.pipeline


def test_cohort_from_outside_is_recorded_with_checksums_crate_and_all_of_nextflows_accounts(
    nextflow: Callable[..., Run], tmp_path: Path
) -> None:
    for patient in ("L001", "L002", "L003"):
        for dose in ("low_dose", "full_dose"):
            (tmp_path / "cohort" / patient / dose).mkdir(parents=True)
            (tmp_path / "cohort" / patient / dose / "1.dcm").write_bytes(128 * b"\0" + b"DICM")

    run = nextflow("-profile", "cpu", "-stub", "--input", "cohort", "--recipe", "wgan-gp-effnetv2-mini")

    assert run.code == 0, run.said
    listed = json.loads((run.results / "checksums.json").read_text())["files"]
    there = {path.relative_to(run.results).as_posix() for path in run.results.rglob("*") if path.is_file()}
    assert set(listed) == there - {"checksums.json"}
    accounts = {f"pipeline_info/{name}" for name in ("trace.txt", "timeline.html", "execution.html", "graph.mmd")}
    assert accounts <= set(listed)
    assert {f"pipeline_info/inputs/L00{number}.json" for number in (1, 2, 3)} <= set(listed)
    # The stub's bundle is empty, which `verify` says; nothing else may differ.
    done = subprocess.run(
        [REPOSITORY / "bin" / "ldctpipe", "verify", run.results], capture_output=True, text=True, check=False
    )
    assert {line.split(":")[0] for line in done.stdout.splitlines()} == {"unreadable"}
    crate = ROCrate(run.results)
    assert crate.get("#run")["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert crate.mainEntity.id == "pipeline_info/main.nf"


def test_run_that_failed_leaves_a_record_and_ends_with_the_sentence_of_its_task_alone(
    nextflow: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "sheet.csv").write_text("patient,low_dose\n")

    run = nextflow("-profile", "cpu", "--input", "sheet.csv", "--recipe", "wgan-gp-effnetv2-mini")

    assert run.code != 0
    columns = "patient,low_dose,full_dose,split"
    sentence = f"ldctpipe: {tmp_path}/sheet.csv: has no column full_dose or split; its first line must be {columns}."
    assert run.stdout.strip().splitlines()[-1] == sentence
    assert "is held out" not in run.said, "what follows from the failure is not told as another"
    assert "groovy" not in run.said
    record = json.loads((run.results / "run.json").read_text())
    assert record["success"] is False
    assert record["error"].endswith(sentence)
    assert ROCrate(run.results).get("#run")["error"] == record["error"]
    verify = [str(REPOSITORY / "bin" / "ldctpipe"), "verify", str(run.results), "--quiet"]
    assert subprocess.run(verify, check=False).returncode == 0


@pytest.mark.parametrize("small_disk", ["20m"], indirect=True)
@pytest.mark.parametrize("option", ["-work-dir", "--outdir"])
def test_disk_without_room_is_said_before_the_first_task(
    nextflow: Callable[..., Run], small_disk: Path, option: str
) -> None:
    run = nextflow("-profile", "test,cpu", "--phantom_slices", "100", option, str(small_disk / "there"))

    assert run.code == 2
    (sentence,) = run.stderr.strip().splitlines()
    assert sentence.startswith(f"ldctpipe: {small_disk}/there: 0.0 GB free, and this run needs about ")
    assert "Submitted process" not in run.said


def test_need_that_the_user_states_takes_the_place_of_the_estimate(nextflow: Callable[..., Run]) -> None:
    run = nextflow("-profile", "test,cpu", "-stub", "--needed_space", "900 TB")

    assert run.code == 2
    assert "this run needs about 921600.0 GB there" in run.stderr

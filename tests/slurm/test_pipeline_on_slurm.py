"""The pipeline on a Slurm for real: what it asks for, what a warning, a preemption and a cancelled head do to it."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from nextflow_run import REPOSITORY
from slurm_cluster import SlurmRun, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
Training = Callable[..., SlurmRun]
HPC_PAGE = REPOSITORY / "docs" / "hpc.md"


def test_every_task_is_a_job_with_the_name_and_the_resources_that_it_asked_for(finished: SlurmRun) -> None:
    jobs = {row["Name"].split(".", 1)[1]: row for row in finished.cluster.done().values()}

    assert set(jobs) == {
        "RECIPE.wgan-gp-effnetv2-mini", "PHANTOM.3_patients", "SAMPLESHEET.samplesheet.csv", "INGEST.L001",
        "INGEST.L002", "INGEST.L003", "PREPARE.3_patients", "TRAIN.wgan-gp-effnetv2-mini", "DENOISE.L003",
        "EVALUATE.mayo-soft", "REPORT.report.html",
    }  # fmt: skip
    assert len({row["Name"].split(".")[0] for row in jobs.values()}) == 1, "the run's name"
    assert {(row["Partition"], row["Account"], row["JobState"]) for row in jobs.values()} == {
        ("main", "radiology", "COMPLETED")
    }
    asked = {
        name.split(".")[0]: (row["Tres"].split(",mem=")[1].split(",")[0], row["TimeLimit"])
        for name, row in jobs.items()
    }
    assert asked["TRAIN"] == asked["DENOISE"] == ("6G", "2880")
    assert asked["PHANTOM"] == asked["PREPARE"] == ("4G", "480")
    assert asked["INGEST"] == asked["REPORT"] == ("2G", "60")
    assert {row["ProcCnt"] for row in jobs.values()} == {"1"}


def test_a_resumed_run_submits_nothing(finished: SlurmRun) -> None:
    before = set(finished.cluster.done())

    assert finished.start("--slurm_queue", "main", "-resume").wait(timeout=120) == 0

    assert {row["status"] for row in finished.trace()} == {"CACHED"}
    assert set(finished.cluster.done()) == before


def test_a_training_that_is_preempted_five_times_finishes_with_the_resources_it_began_with(training: Training) -> None:
    run = training("--iterations", "60")
    saved = -1
    for _ in range(5):
        run.running_training()
        saved = run.train_beyond(saved)
        job = run.running_training()
        subprocess.run(["scancel", job], check=True)
        wait_for(lambda job=job: job not in run.cluster.jobs())
        saved = run.saved()

    assert run.head is not None
    assert run.head.wait(timeout=300) == 0, run.log.read_text()
    assert run.attempts() == [*5 * ["75"], "0"]
    assert run.iterations() == sorted(set(run.iterations()))
    asked = Counter(row["Tres"] for row in run.cluster.done().values() if run_name(run) + ".TRAIN" in row["Name"])
    assert list(asked.values()) == [6], "the sixth attempt asks for what the first did"


def test_the_warning_before_a_time_limit_saves_and_the_next_attempt_goes_on(training: Training, tmp_path: Path) -> None:
    limit = tmp_path / "limit.config"
    limit.write_text("process { withName: TRAIN { time = '3 min' } }\n")
    run = training("-c", str(limit), "--iterations", "100001")
    first = run.running_training()
    assert run.cluster.describe(first)["TimeLimit"] == "00:03:00"

    wait_for(lambda: first not in run.cluster.jobs())
    run.running_training()
    wait_for(lambda: "going on after iteration" in run.log_of_training())

    said = run.log_of_training(attempt=-2)
    stopped = re.search(r"ldctpipe: SIGUSR2: saved at iteration (\d+);", said)
    assert stopped, said
    assert f"going on after iteration {stopped[1]}" in run.log_of_training()
    assert run.attempts()[0] == "75"


def test_a_job_that_slurm_itself_requeues_goes_on_in_its_folder_and_is_no_second_job(training: Training) -> None:
    run = training("--iterations", "100002", "--slurm_options=--requeue")
    job = run.running_training()
    before = run.train_beyond(0)

    subprocess.run(["scontrol", "requeue", job], check=True)
    wait_for(lambda: "PD" in run.cluster.jobs(".TRAIN.").values())
    saved = run.saved()
    assert run.running_training() == job
    wait_for(lambda: f"going on after iteration {saved}" in run.log_of_training())

    assert saved >= before
    assert list(run.cluster.jobs(".TRAIN.")) == [job]
    assert run.attempts() == []


def test_a_cancelled_head_leaves_no_job_and_the_run_goes_on_where_it_was(finished: SlurmRun) -> None:
    script = re.search(r"```bash\n(#!/bin/bash\n#SBATCH --job-name=ldctpipe.*?)```", HPC_PAGE.read_text(), re.DOTALL)
    assert script
    arguments = [*finished.arguments("-resume", "--iterations", "100003")]
    text = script[1].replace("/path/to/ldctpipe", str(REPOSITORY))
    text = re.sub(
        r"(main\.nf) .*?(?=\n\n|\Z)", lambda found: f"{found[1]} {' '.join(arguments)}\n", text, flags=re.DOTALL
    )
    (finished.folder / "head.sh").write_text(text.replace("--mem=4G", "--mem=1G"))
    said = subprocess.run(
        ["sbatch", "--parsable", "head.sh"], cwd=finished.folder, capture_output=True, text=True, check=True
    ).stdout
    finished.running_training()
    finished.train_beyond(0)

    subprocess.run(["scancel", said.strip()], check=True)

    wait_for(lambda: not finished.cluster.jobs(), 60)
    saved = finished.saved()
    done = {row["process"]: row["status"] for row in finished.trace()}
    assert {done[name] for name in ("RECIPE", "PHANTOM", "SAMPLESHEET", "INGEST", "PREPARE")} == {"CACHED"}
    finished.start("-resume", "--iterations", "100003")
    finished.running_training()
    wait_for(lambda: f"going on after iteration {saved}" in finished.log_of_training())
    finished.stop()


def test_a_failure_ends_with_the_own_sentence_of_the_command(finished: SlurmRun) -> None:
    code = finished.start("--set", "training.no_such_key=3").wait(timeout=120)

    assert code != 0
    assert finished.log.read_text().strip().splitlines()[-1].startswith("ldctpipe: --set training.no_such_key: ")


def test_a_partition_that_is_not_there_is_said_in_the_words_of_slurm(finished: SlurmRun) -> None:
    code = finished.start("--slurm_queue", "nix").wait(timeout=120)

    assert code != 0
    assert "invalid partition specified: nix" in finished.log.read_text().strip().splitlines()[-1]


def run_name(run: SlurmRun) -> str:
    found = re.search(r"Launching .* \[(\w+)\]", run.log.read_text())
    assert found
    return found[1]

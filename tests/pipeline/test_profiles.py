"""What profiles resolve to, alone and together; resources within a site's limits; what a place lacks."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from nextflow_run import REPOSITORY, Run

pytestmark = pytest.mark.pipeline

RESOLVED = {
    "test": {"params.phantom_patients": "3"},
    "demo": {"params.phantom_patients": "4"},
    "cpu": {"params.device": "'cpu'"},
    "gpu": {"params.device": "'cuda'", "process.withLabel:gpu.accelerator": "1"},
    "docker": {"docker.enabled": "true", "process.container": "'ldctpipe:latest'"},
    "podman": {"podman.enabled": "true", "process.container": "'localhost/ldctpipe:latest'"},
    "apptainer": {"apptainer.enabled": "true"},
    "singularity": {"singularity.enabled": "true"},
    "slurm": {"process.executor": "'slurm'"},
    "awsbatch": {"process.executor": "'awsbatch'"},
    "googlebatch": {"process.executor": "'google-batch'"},
    "k8s": {"process.executor": "'k8s'", "k8s.namespace": "'default'"},
}
ENGINES = {"docker": "--gpus all", "podman": "--device nvidia.com/gpu=all", "apptainer": "--nv", "singularity": "--nv"}
COMBINED = (
    "test,podman", "gpu,docker", "gpu,podman", "gpu,slurm,apptainer", "gpu,singularity", "gpu,awsbatch",
    "gpu,googlebatch", "gpu,k8s",
)  # fmt: skip


def resolved(profile: str) -> dict[str, str]:
    """Return what Nextflow makes of the configuration under a profile, as NAME.NAME and the value's text."""
    command = [str(REPOSITORY / "bin" / "nextflow"), "config", "-flat", "-profile", profile, str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    pairs = (line.partition(" = ") for line in done.stdout.splitlines())
    return {re.sub(r"[`'\"]", "", name): value for name, _, value in pairs}


def test_every_profile_is_looked_at_below() -> None:
    block = (REPOSITORY / "nextflow.config").read_text().partition("profiles {")[2].partition("\n}")[0]
    assert set(re.findall(r"(?m)^    (\w+) +\{", block)) == set(RESOLVED)


@pytest.mark.parametrize("profile", [*RESOLVED, *COMBINED])
def test_profile_resolves_without_a_network_and_keeps_what_it_is_combined_with(profile: str) -> None:
    configuration = resolved(profile)
    for name in profile.split(","):
        assert configuration.items() >= RESOLVED[name].items()
        if name in ENGINES:
            assert f"task.accelerator ? '{ENGINES[name]}'" in configuration["process.containerOptions"]
    assert "retry" in configuration["process.errorStrategy"]


@pytest.fixture
def resources(tmp_path: Path) -> tuple[str, str]:
    """Arguments that let the trace tell resources, and kill the first attempt of one task as if out of memory."""
    file = tmp_path / "resources.config"
    file.write_text(
        "trace.fields = 'name,status,exit,attempt,cpus,memory,time'\n"
        "process { withName: EVALUATE { beforeScript = { task.attempt == 1 ? 'exit 137' : 'true' } } }\n"
    )
    return "-c", str(file)


def test_an_attempt_after_one_that_ran_out_of_memory_gets_more(
    nextflow: Callable[..., Run], resources: tuple[str, str]
) -> None:
    run = nextflow("-profile", "test,cpu", "-stub", *resources)
    assert run.code == 0, run.said
    attempts = [row for row in run.trace() if row["process"] == "EVALUATE"]
    assert [(row["exit"], row["memory"]) for row in attempts] == [("137", "2 GB"), ("0", "4 GB")]


def test_no_attempt_of_a_task_asks_for_more_than_the_site_allows(
    nextflow: Callable[..., Run], resources: tuple[str, str]
) -> None:
    limits = ("--max_cpus", "1", "--max_memory", "3 GB", "--max_time", "2 h")
    run = nextflow("-profile", "test,cpu", "-stub", *resources, *limits)
    assert run.code == 0, run.said
    asked = {(row["process"], row["attempt"]): (row["cpus"], row["memory"], row["time"]) for row in run.trace()}
    assert asked["TRAIN", "1"] == ("1", "3 GB", "2h")
    assert asked["EVALUATE", "2"] == ("1", "3 GB", "1h"), "out of memory says nothing about time"


ENGINE = """#!/bin/sh
case "$*" in
"image inspect"*present*) exit 0 ;;
"image inspect"*) echo 'Error: inspecting object: image not known' >&2; exit 125 ;;
*) echo 'Error: no room for a container' >&2; exit 126 ;;
esac
"""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("podman",), "the image localhost/ldctpipe:latest is not there; build it with `make image`, or name"),
        (("docker",), "the image ldctpipe:latest is not there; build it with `make image`, or name another with"),
        (("podman", "--container", "localhost/present"), "podman starts no container from localhost/present: Error:"),
        (("apptainer",), "ldctpipe.sif is not there; make it (docs/containers.md) or name another with --container."),
        (("singularity", "--container", "other.sif"), "the image other.sif is not there"),
        (("awsbatch",), "--aws_queue is missing; awsbatch needs the job queue."),
        (("awsbatch", "--aws_queue", "q", "--aws_region", "eu-central-1"), "--container is missing; awsbatch needs"),
        (("googlebatch",), "--google_project is missing; google-batch needs the project that pays."),
        (("k8s",), "--k8s_claim is missing; k8s needs the volume claim that holds the work folder."),
    ],
)  # fmt: skip
def test_what_a_place_lacks_is_said_before_the_first_task(
    nextflow: Callable[..., Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("docker", "podman"):
        (programs / name).write_text(ENGINE)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("NXF_PLUGINS_DEFAULT", "false")  # the clouds' plugins are fetched when Nextflow starts
    run = nextflow("-profile", f"test,{arguments[0]}", *arguments[1:])
    assert run.code == 2, run.said
    assert sentence in run.stderr.strip().splitlines()[-1]
    assert "Submitted process" not in run.said

"""Both images, built for real, and the pipeline in one of them: an ordinary user, no network, out of memory and on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from nextflow_run import REPOSITORY, Run, run_nextflow

from ldctpipe import __version__

pytestmark = [pytest.mark.containers, pytest.mark.slow]

BUILDER = REPOSITORY.parent / "shared" / "tools" / "local-base.sh"
NEEDED_GB = 20
CPU = "localhost/ldctpipe:cpu"
CONTAINERFILES = {"localhost/ldctpipe:latest": "Containerfile", CPU: "Containerfile.cpu"}


@pytest.fixture(scope="module", autouse=True)
def machine() -> Iterator[None]:
    """This machine's settings for Podman; skips where images can't be built."""
    free_gb = shutil.disk_usage("/var").free >> 30
    if not BUILDER.exists():
        pytest.skip("../shared/tools/local-base.sh, which makes a base image, is not beside this checkout")
    if os.geteuid() != 0:
        pytest.skip("making a base image needs root")
    if free_gb < NEEDED_GB:
        pytest.skip(f"/var has {free_gb} GB free and two images need {NEEDED_GB} GB")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(BUILDER.with_name("containers.conf")))
        trial = subprocess.run(
            [BUILDER], capture_output=True, text=True, check=False
        )  # makes the base, builds and runs
        if trial.returncode != 0:
            said = (trial.stdout + trial.stderr).strip().splitlines()
            pytest.skip(f"no image can be built and run here: {said[-1] if said else 'no word on why'}")
        yield


@pytest.fixture(scope="module", params=list(CONTAINERFILES), ids=list(CONTAINERFILES.values()))
def image(request: pytest.FixtureRequest, machine: None) -> str:
    """An image as `make image` and `make image-cpu` build it. It stays: it is what -profile podman runs, and its layers
    make the next build a matter of seconds."""
    return build(request.param)


@pytest.fixture(scope="module")
def cpu_image(machine: None) -> str:
    return build(CPU)


def build(image: str) -> str:
    command = ["containers/build.sh", f"containers/{CONTAINERFILES[image]}", image]
    environment = {**os.environ, "BUILDER": str(BUILDER)}
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return image


def podman(*arguments: str) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_container(image: str, *command: str) -> str:
    return podman("run", "--rm", "--no-healthcheck", "--network", "none", image, *command)


def test_image_says_what_it_is_and_can_be_asked_whether_it_is_well(image: str) -> None:
    described = json.loads(podman("image", "inspect", image))[0]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in described["Labels"].items()}
    describe = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40"]
    revision = subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    assert (labels["title"], labels["licenses"], labels["version"]) == ("ldctpipe", "Apache-2.0", __version__)
    assert labels["revision"] == revision
    assert described["Healthcheck"]["Test"] == ["CMD", "ldctpipe", "doctor"]
    assert f"ldctpipe           {__version__}" in in_container(image, "ldctpipe", "doctor")


def test_image_runs_as_an_ordinary_user_who_can_change_nothing_in_it(image: str) -> None:
    script = "id -u; find /opt/ldctpipe -writable -not -type l | wc -l"
    assert in_container(image, "bash", "-c", script).split() == ["10001", "0"]


def test_bill_of_materials_is_what_is_installed_and_what_is_pinned(image: str) -> None:
    bill = json.loads(in_container(image, "cat", "/opt/ldctpipe/ldctpipe.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "ldctpipe"
    billed = {(part["name"].lower().replace("_", "-"), part["version"]) for part in bill["components"]}
    listed = json.loads(in_container(image, "/opt/ldctpipe/bin/pip", "list", "--format", "json"))
    installed = {
        (part["name"].lower().replace("_", "-"), part["version"]) for part in listed if part["name"] != "ldctpipe"
    }
    assert billed == installed
    pins = re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", (REPOSITORY / "requirements" / "runtime.txt").read_text())
    unpinned = installed - {(name.lower().replace("_", "-"), version) for name, version in pins}
    assert {name for name, _ in unpinned} == {"pip"}, "the base's own, with which the others were installed"


def test_torch_computes_in_the_image(image: str) -> None:
    script = (
        "import torch; x = torch.rand(1, 3, 64, 64, requires_grad=True); torch.nn.Conv2d(3, 8, 3)(x).sum().backward();"
        "print(torch.fft.rfft2(x).shape[-1], torch.linalg.svd(torch.rand(4, 4))[1].shape[0], torch.cuda.is_available())"
    )
    assert in_container(image, "python", "-c", script).split() == ["33", "4", "False"]


LOOK = """
process LOOK {
    output:
    path 'seen'

    script:
    'id -u > seen; ls /sys/class/net >> seen; ldctpipe --version >> seen'
}
workflow {
    LOOK()
}
"""


def test_tasks_of_the_profile_are_an_ordinary_user_without_a_network_whose_files_are_the_callers(
    cpu_image: str, tmp_path: Path
) -> None:
    (tmp_path / "main.nf").write_text(LOOK)
    (tmp_path / "nextflow.config").write_text(
        f"params.container = '{cpu_image}'\nincludeConfig '{REPOSITORY}/conf/podman.config'\n"
    )
    done = subprocess.run(
        [str(REPOSITORY / "bin" / "nextflow"), "run", "main.nf"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (seen,) = tmp_path.glob("work/*/*/seen")
    assert seen.read_text().split() == ["10001", "lo", "ldctpipe", __version__]
    assert seen.stat().st_uid == os.geteuid()


@pytest.fixture(scope="module")
def finished(cpu_image: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The profiles test and podman together, with so little memory for one task that its first attempt is killed."""
    folder = tmp_path_factory.mktemp("podman")
    (folder / "tight.config").write_text(
        "process { withName: EVALUATE { memory = { task.attempt == 1 ? 40.MB : 2.GB } } }\n"
        "trace.fields = 'name,status,exit,attempt,memory,workdir'\n"
    )
    run = run_nextflow(folder, "-profile", "test,podman", "--container", cpu_image, "-c", "tight.config")
    assert run.code == 0, run.said
    return run


def test_whole_chain_runs_in_containers_and_belongs_to_the_caller(finished: Run) -> None:
    record = json.loads((finished.results / "run.json").read_text())
    assert (record["success"], record["container_engine"]) == (True, "podman")
    assert record["versions"]["TRAIN"] == f"ldctpipe {__version__}"
    assert len(list((finished.results / "denoised" / "L003").glob("*.dcm"))) == 4
    assert {path.stat().st_uid for path in finished.results.rglob("*")} == {os.geteuid()}
    assert not podman("ps", "--all", "--quiet", "--filter", "name=nxf-"), "no container is left behind"


def test_task_killed_for_its_memory_succeeds_with_more(finished: Run) -> None:
    attempts = [row for row in finished.trace() if row["process"] == "EVALUATE"]
    assert [(row["status"], row["exit"], row["memory"]) for row in attempts] == [
        ("FAILED", "137", "40 MB"), ("COMPLETED", "0", "2 GB"),
    ]  # fmt: skip

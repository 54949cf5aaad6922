"""Two ranks of one training in a job: however they are started, they find each other and one of them writes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from nextflow_run import REPOSITORY
from slurm_cluster import Cluster, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.mark.parametrize(
    ("asked", "start"),
    [("--ntasks=1 --cpus-per-task=2", "exec"), ("--ntasks=2", "exec"), ("--ntasks=2", "exec srun --ntasks=2")],
    ids=["one task", "two tasks and no srun", "srun"],
)
def test_two_ranks_train_together(slurm: Cluster, tiny_store: Path, tmp_path: Path, asked: str, start: str) -> None:
    code = submit(
        slurm, tmp_path, asked,
        f"{start} {REPOSITORY}/bin/ldctpipe train {tiny_store} model --recipe wgan-gp-effnetv2-mini --no-pretrained"
        " --iterations 2 --set data.images_per_batch=2 --set data.patches_per_image=2 --device cpu --threads 1"
        " --previews 0 --devices 2",
    )  # fmt: skip

    said = (tmp_path / "log").read_text()
    assert code == "0:0", said
    assert said.count("weights of iteration") == 1
    assert json.loads((tmp_path / "model" / "card.json").read_text())["training"]["devices"] == 2


def test_processes_that_do_not_fit_the_devices_are_said(slurm: Cluster, tiny_store: Path, tmp_path: Path) -> None:
    code = submit(
        slurm, tmp_path, "--ntasks=2",
        f"exec srun --ntasks=2 {REPOSITORY}/bin/ldctpipe train {tiny_store} model --recipe wgan-gp-effnetv2-mini"
        " --no-pretrained --device cpu",
    )  # fmt: skip

    assert code == "2:0"
    assert "ldctpipe: srun started 2 processes on 1 nodes; there have to be 1" in (tmp_path / "log").read_text()


def submit(slurm: Cluster, folder: Path, asked: str, line: str) -> str:
    """Run one line as a job in this folder, with its output in `log`; return its exit code."""
    script = folder / "job.sh"
    script.write_text(f"#!/bin/bash\n#SBATCH --time=10 --output=log --mem=3G {asked}\n{line}\n")
    said = subprocess.run(["sbatch", "--parsable", script], cwd=folder, capture_output=True, text=True, check=True)
    return wait_for(lambda: slurm.done().get(said.stdout.strip()))["ExitCode"]

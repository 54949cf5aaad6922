"""A Slurm of one node for these tests, one finished run on it, and a fresh copy of that run for each test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "pipeline"))

from slurm_cluster import Cluster, SlurmRun  # noqa: E402 - it shares nextflow_run with the tests of the pipeline

TOOLS = REPOSITORY.parent / "shared" / "tools"


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A running Slurm, stopped in the end; tests that need it are skipped, and say so, where none can be started."""
    if os.geteuid() != 0:
        pytest.skip("starting a Slurm needs root")
    if not (TOOLS / "start-slurm.sh").is_file():
        pytest.skip("what starts a Slurm (../shared/tools) is not beside this checkout")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it is stopped then, too
    state = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))  # short, because it holds sockets
    environment = {**os.environ, "SLURM_STATE": str(state)}
    try:
        done = subprocess.run([TOOLS / "start-slurm.sh"], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no Slurm could be started: {done.stderr.strip().splitlines()[-1]}")
        os.environ["SLURM_CONF"] = str(state / "slurm.conf")
        _grant_default_grace(state / "slurm.conf")
        yield Cluster(state)
    finally:
        subprocess.run([TOOLS / "stop-slurm.sh"], env=environment, check=False)
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session")
def finished(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> SlurmRun:
    """One finished run of the profiles `test` and `slurm`; tests go on from it with -resume, one after the other."""
    run = SlurmRun(slurm, tmp_path_factory.mktemp("run"))
    head = run.start("--slurm_queue", "main", "--slurm_account", "radiology")
    assert head.wait(timeout=900) == 0, run.log.read_text()
    return run


@pytest.fixture
def training(finished: SlurmRun) -> Iterator[Callable[..., SlurmRun]]:
    """A function that starts a new training on the finished run's cohort, which is stopped after the test."""

    def start(*arguments: str) -> SlurmRun:
        finished.start("-resume", *arguments)
        return finished

    yield start
    finished.stop()


def _grant_default_grace(configuration: Path) -> None:
    """Give a job that is ended thirty seconds until it is killed, as sites do that set nothing else."""
    configuration.write_text(configuration.read_text().replace("KillWait=5", "KillWait=30"))
    subprocess.run(["scontrol", "reconfigure"], check=True)

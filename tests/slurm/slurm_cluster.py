"""What the tests ask a Slurm and a run of the pipeline on it."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from nextflow_run import Run, command_of

Found = TypeVar("Found")


def wait_for(what: Callable[[], Found | None], seconds: float = 400) -> Found:
    """Return what `what` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"nothing came of {what} in {seconds} s"
        time.sleep(0.3)
    return found


@dataclass(frozen=True)
class Cluster:
    """A running Slurm, by its folder of state."""

    state: Path

    def jobs(self, name: str = "") -> dict[str, str]:
        """Return the jobs that wait or run and have `name` in their name, with their states."""
        said = subprocess.run(["squeue", "-h", "-o", "%A %t %j"], capture_output=True, text=True, check=True).stdout
        rows = (line.split(" ", 2) for line in said.splitlines())
        return {job: state for job, state, called in rows if name in called}

    def done(self) -> dict[str, dict[str, str]]:
        """Return the ended jobs by number, with the fields of Slurm's log of completed jobs."""
        text = (self.state / "log" / "jobcomp.log").read_text()
        fields = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]
        return {row["JobId"]: row for row in fields}

    def describe(self, job: str) -> dict[str, str]:
        said = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
        return dict(re.findall(r"(\S+?)=(\S*)", said))


@dataclass
class SlurmRun:
    """A launch folder, and the runs of the pipeline in it."""

    cluster: Cluster
    folder: Path
    head: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def arguments(self, *more: str) -> list[str]:
        asks = self.folder / "fast.config"
        asks.write_text("executor.pollInterval = '1 sec'\n")
        return ["-c", str(asks), "-profile", "test,slurm,cpu", "--max_cpus", "1", *more]

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        with self.log.open("w") as stream:
            command, environment = command_of(*self.arguments(*more)), {**os.environ, "OMP_NUM_THREADS": "1"}
            self.head = subprocess.Popen(
                command, cwd=self.folder, stdout=stream, stderr=subprocess.STDOUT, env=environment
            )
        return self.head

    def stop(self) -> None:
        if self.head and self.head.poll() is None:
            self.head.terminate()
            self.head.wait(timeout=120)
        for job in self.cluster.jobs():  # whatever a failed test left is not to be in the way of the next
            subprocess.run(["scancel", "--signal=KILL", "--full", job], check=False)
            subprocess.run(["scancel", job], check=False)
        wait_for(lambda: not self.cluster.jobs(), 120)

    def trace(self) -> list[dict[str, str]]:
        return Run(self.folder, 0, "", "").trace()

    def running_training(self) -> str:
        """Return the number of the training's job once it runs."""
        return wait_for(lambda: next((job for job, state in self.cluster.jobs(".TRAIN.").items() if state == "R"), ""))

    def saved(self) -> int:
        """Return the iteration of the newest checkpoint of the newest training."""
        script = (self._training_folder() / ".command.sh").read_text()
        folder = Path(re.findall(r"--checkpoints '(.*?)'", script)[0])
        return max((int(path.name.split("-")[1]) for path in folder.glob("iteration-*.pt")), default=-1)

    def train_beyond(self, iteration: int) -> int:
        """Return the newest checkpoint's iteration once it is after this one."""
        wait_for(lambda: self.saved() > iteration)
        return self.saved()

    def iterations(self) -> list[int]:
        """Return the iterations in the log of the finished training."""
        with (self.folder / "results" / "model" / "training.csv").open(newline="") as stream:
            return [int(row["iteration"]) for row in csv.DictReader(stream)]

    def attempts(self) -> list[str]:
        """Return the exit codes of the ended attempts at training in this run, by the trace."""
        return [row["exit"] for row in self.trace() if row["process"] == "TRAIN"]

    def log_of_training(self, attempt: int = -1) -> str:
        """Return what an attempt at training said so far, by the order of attempts."""
        said = self._training_folder(attempt) / ".command.log"
        return said.read_text() if said.exists() else ""

    def _training_folder(self, attempt: int = -1) -> Path:
        scripts = sorted((self.folder / "work").glob("??/*/.command.sh"), key=lambda path: path.stat().st_mtime)
        return [path.parent for path in scripts if "ldctpipe train" in path.read_text()][attempt]

"""Runs of Nextflow for real, each in a folder of its own, and what they left."""

from __future__ import annotations

import csv
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """One finished run of the pipeline: where it was started, how it ended, what it said."""

    folder: Path
    code: int
    stdout: str
    stderr: str

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def said(self) -> str:
        return self.stdout + self.stderr

    def trace(self) -> list[dict[str, str]]:
        """Return one row a task, in the columns of Nextflow's trace, with the process' own name."""
        with (self.results / "pipeline_info" / "trace.txt").open(newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        return [{**row, "process": row["name"].split(" ")[0].rpartition(":")[2]} for row in rows]


def command_of(*arguments: str) -> list[str]:
    return [str(REPOSITORY / "bin" / "nextflow"), "run", str(REPOSITORY / "main.nf"), *arguments]


def run_nextflow(folder: Path, *arguments: str) -> Run:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # another test runs beside this one
    done = subprocess.run(
        command_of(*arguments), cwd=folder, capture_output=True, text=True, timeout=900, env=environment, check=False
    )
    return Run(folder, done.returncode, done.stdout, done.stderr)

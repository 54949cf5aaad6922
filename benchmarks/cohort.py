"""A cohort through the pipeline: time, tasks, what Nextflow adds, and what a second run has left to do.

    .venv/bin/python benchmarks/cohort.py MODEL [--patients 200] [--new 5] [--task-slices 100] [--work FOLDER]

Writes a scan of 2 slices of 64×64 pixels for each patient, ten of them broken in ten ways, and runs the pipeline three
times: over all, over the same with -resume, and after new patients came. MODEL is any bundle.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))
from broken_cohort import BREAKAGES, write_patients  # noqa: E402 - lies with the tests, which are no package


class Outcome(NamedTuple):
    """One run of the pipeline: seconds, rows of its trace, its last lines."""

    name: str
    seconds: float
    tasks: list[dict[str, str]]
    said: list[str]


def main() -> None:
    """Run the pipeline three times and print the table."""
    given = _arguments()
    work = Path(given.work or mkdtemp(prefix="ldctpipe-cohort-"))
    step = given.patients // len(BREAKAGES)
    broken = {step * index + step // 2: way for index, way in enumerate(BREAKAGES)}
    write_patients(work / "cohort", range(given.patients), broken)
    runs = [_run("all", work, given), _run("the same, -resume", work, given, "-resume")]
    write_patients(work / "cohort", range(given.patients, given.patients + given.new))
    runs.append(_run(f"{given.new} new patients", work, given))
    for run in runs:
        print("\n".join([f"\n{run.name}:", *run.said[-3:]]))
    print(
        f"\n{'run':20}{'wall, s':>10}{'groups':>8}{'tasks':>7}{'in tasks, s':>13}{'Nextflow, s':>13}{'a task, s':>11}"
    )
    for run in runs:
        print(_row(run))
    print(f"\nlast rows of {work}/results/manifest.csv:")
    for line in (work / "results" / "manifest.csv").read_text().splitlines()[-4:]:
        print(line)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--new", type=int, default=5)
    parser.add_argument("--task-slices", type=int, default=100)
    parser.add_argument("--work")
    return parser.parse_args()


def _run(name: str, work: Path, given: argparse.Namespace, *more: str) -> Outcome:
    command = [
        str(REPOSITORY / "bin" / "nextflow"), "run", str(REPOSITORY / "main.nf"), "-profile", "cpu",
        "--workflow", "denoise", "--input", str(work / "cohort"), "--model", str(given.model.resolve()),
        "--outdir", str(work / "results"), "--task_slices", str(given.task_slices), *more,
    ]  # fmt: skip
    started = time.monotonic()
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    with (work / "results" / "pipeline_info" / "trace.txt").open(newline="") as stream:
        tasks = list(csv.DictReader(stream, delimiter="\t"))
    return Outcome(name, seconds, tasks, done.stdout.strip().splitlines())


def _row(run: Outcome) -> str:
    ran = [task for task in run.tasks if task["status"] != "CACHED"]
    groups = sum("DENOISE_GROUP" in task["name"] for task in ran)
    inside = sum(_seconds(task["realtime"]) for task in ran)
    outside = run.seconds - inside  # tasks run one after the other where each takes all cores
    return (
        f"{run.name:20}{run.seconds:>10.1f}{groups:>8}{len(ran):>7}{inside:>13.1f}{outside:>13.1f}"
        f"{outside / max(1, len(ran)):>11.1f}"
    )


def _seconds(text: str) -> float:
    """Return Nextflow's "1m 3s", "2.5s" or "812ms" in seconds."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    parts = [(part.rstrip("hms"), part.lstrip("0123456789.")) for part in text.split() if part != "-"]
    return sum(float(number) * units[unit] for number, unit in parts)


if __name__ == "__main__":
    main()

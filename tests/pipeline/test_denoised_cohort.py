"""A cohort denoised for real: groups, broken patients, later patients, a run that is killed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from broken_cohort import BREAKAGES, write_patients
from nextflow_run import Run, command_of, run_nextflow

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]
PATIENTS, LATER = 24, 3
BROKEN = dict(zip(range(3, PATIENTS, 4), list(BREAKAGES)[:5], strict=False))


def arguments_of(model: Path, *more: str) -> tuple[str, ...]:
    return ("-profile", "cpu", "--workflow", "denoise", "--input", "cohort", "--model", str(model), *more)


def manifest(run: Run) -> list[dict[str, str]]:
    with (run.results / "manifest.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def tasks(run: Run) -> list[str]:
    return [row["tag"] for row in run.trace() if row["process"] == "DENOISE_GROUP"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Run:
    """A run over a cohort in which five patients are broken, each in a way of its own."""
    folder = tmp_path_factory.mktemp("cohort")
    write_patients(folder / "cohort", range(PATIENTS), BROKEN)
    return run_nextflow(folder, *arguments_of(tiny_bundle, "--task_slices", "20"))


def test_the_manifest_lists_every_patient_and_the_run_says_that_some_were_refused(finished: Run) -> None:
    rows = manifest(finished)
    assert Counter(row["state"] for row in rows) == {"done": PATIENTS - len(BROKEN), "refused": len(BROKEN)}
    assert {row["patient"] for row in rows} == {f"P{number:03d}" for number in range(PATIENTS)}
    for number, way in BROKEN.items():
        assert BREAKAGES[way][1] in rows[number]["reason"]
    assert finished.code != 0
    last = finished.stdout.strip().splitlines()[-1]
    assert last.startswith("ldctpipe: 19 of 24 series of 24 patients denoised (38 slices), 5 refused, 0 failed")
    assert 2 <= len(tasks(finished)) <= 3, "a model is loaded a few times, not 24 times"


@pytest.mark.parametrize("resume", [(), ("-resume",)])
def test_another_run_does_only_the_new_patients(finished: Run, tiny_bundle: Path, resume: tuple[str, ...]) -> None:
    first = PATIENTS + LATER * len(resume)
    before = {path: path.stat().st_mtime_ns for path in finished.results.glob("denoised/*/*")}
    write_patients(finished.folder / "cohort", range(first, first + LATER))

    again = run_nextflow(finished.folder, *arguments_of(tiny_bundle, "--keep_going", "true", *resume))

    assert again.code == 0, again.said
    assert tasks(again) == [f"{LATER} from P{first:03d}"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(manifest(again)) == first + LATER


def test_a_killed_run_has_published_what_was_done_and_another_does_the_rest(tiny_bundle: Path, tmp_path: Path) -> None:
    write_patients(tmp_path / "cohort", range(12), slices=12)
    command = command_of(*arguments_of(tiny_bundle))
    with (tmp_path / "log").open("w") as log, subprocess.Popen(
        command, cwd=tmp_path, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as head:  # fmt: skip
        _wait_for_patients(tmp_path / "results", 2, head)
        _kill_with_children(head)
    published = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/denoised/P*/*.dcm")}
    assert 2 * 12 <= len(published) < 12 * 12

    again = run_nextflow(tmp_path, *arguments_of(tiny_bundle))

    assert again.code == 0, again.said
    assert {row["state"] for row in manifest(again)} == {"done"}
    assert {path: path.stat().st_mtime_ns for path in published} == published
    (tag,) = tasks(again)
    assert int(tag.split()[0]) <= 10


def _wait_for_patients(results: Path, patients: int, head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while len(list(results.glob("pipeline_info/patients/*.json"))) < patients:
        assert head.poll() is None, (results.parent / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _kill_with_children(head: subprocess.Popen[bytes]) -> None:
    for process in [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:  # its end came before it
            continue


def test_nothing_that_a_deidentified_run_leaves_names_a_source(tiny_bundle: Path, tmp_path: Path) -> None:
    write_patients(tmp_path / "cohort", range(2), {1: next(iter(BREAKAGES))})
    for number, name in enumerate(("Zaphod_Beeblebrox", "Arthur_Dent")):
        (tmp_path / "cohort" / f"P{number:03d}").rename(tmp_path / "cohort" / name)
    (tmp_path / "cohort").rename(tmp_path / "Beeblebrox's ward")
    (tmp_path / "site.key").write_text(64 * "5")
    own = ("--deidentification_key", "site.key", "--deidentification_mapping", "private/mapping.csv")
    arguments = (
        "-profile",
        "cpu",
        "--workflow",
        "denoise",
        "--input",
        "Beeblebrox's ward",
        "--model",
        str(tiny_bundle),
    )

    run = run_nextflow(tmp_path, *arguments, *own, "--keep_going", "true")

    assert run.code == 0, run.said
    for path in (path for path in run.results.rglob("*") if path.is_file()):
        assert not any(name in str(path.relative_to(run.results)) for name in ("Beeblebrox", "Dent"))
        text = path.read_bytes().decode("latin-1")
        assert not [name for name in ("Beeblebrox", "Arthur_Dent") if name in text], path
    mapping = tmp_path / "private" / "mapping.csv"
    assert mapping.stat().st_mode & 0o777 == 0o600
    with mapping.open(newline="") as stream:
        assert {row["patient"] for row in csv.DictReader(stream)} == {"Zaphod_Beeblebrox", "Arthur_Dent"}

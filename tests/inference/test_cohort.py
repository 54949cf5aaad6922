"""A cohort denoised in groups: who is in which, what is recorded, what another run does, what a kill costs."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from broken_cohort import BREAKAGES, write_patients
from hypothesis import given
from hypothesis import strategies as st
from small_dicom import write_series

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode, InputError
from ldctpipe.files import sha256_of_file
from ldctpipe.inference.cohort_plan import Sized, groups_of
from ldctpipe.inference.cohort_record import read_records, results_beside
from ldctpipe.inference.cohort_scans import Scan, Size

SIZES = st.lists(st.integers(0, 300), max_size=60)


def sized(slices: list[int]) -> list[Sized]:
    return [Sized(Scan(f"P{number}", Path("x")), Size(1, one, one)) for number, one in enumerate(slices)]


@given(SIZES, st.integers(1, 400))
def test_every_patient_is_in_one_group_of_bounded_size(slices: list[int], task_slices: int) -> None:
    patients = sized(slices)

    groups = groups_of(patients, task_slices)

    assert [one for group in groups for one in group] == patients
    for group in groups:
        assert sum(max(1, one.size.slices) for one in group) <= task_slices or len(group) == 1
    for group, following in itertools.pairwise(groups):
        assert sum(max(1, one.size.slices) for one in [*group, following[0]]) > task_slices, "none is split needlessly"


@given(SIZES, SIZES, st.integers(1, 400))
def test_patients_that_come_behind_change_no_group_but_the_last(
    slices: list[int], more: list[int], task_slices: int
) -> None:
    before = groups_of(sized(slices), task_slices)

    after = groups_of(sized(slices + more), task_slices)

    assert after[: max(0, len(before) - 1)] == before[:-1]


def ldctpipe(*arguments: str | Path) -> int:
    return run([str(argument) for argument in arguments])


def plan(cohort: Path, out: Path, model: Path, *more: str | Path) -> list[dict[str, str]]:
    """Plan what is left to do after what lies in `out`, and return the rows."""
    records, table = out / "pipeline_info" / "patients", out.with_name("plan.csv")
    assert ldctpipe("cohort", "plan", cohort, table, "--model", model, "--records", records, "--overwrite", *more) == 0
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


def denoise(cohort: Path, out: Path, model: Path, *more: str | Path) -> None:
    command = ("cohort", "denoise", cohort, out, "--model", model, "--device", "cpu", *more)
    assert ldctpipe(*command) == ExitCode.DONE


def listed(out: Path, *more: str | Path) -> dict[str, dict]:
    """Write the manifest and return its rows by patient."""
    assert ldctpipe("cohort", "manifest", out, out, "--overwrite", *more) == ExitCode.DONE
    return {row["patient"]: row for row in json.loads((out / "manifest.json").read_text())["series"]}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> tuple[Path, Path]:
    """A cohort of three sound patients and one broken in each way, and its results."""
    root = tmp_path_factory.mktemp("broken")
    ways = dict(enumerate(BREAKAGES, 1))
    write_patients(root / "cohort", range(14), ways)
    denoise(root / "cohort", root / "out", tiny_bundle)
    return root / "cohort", root / "out"


def test_each_way_to_break_a_scan_is_told_and_harms_no_other(broken: tuple[Path, Path]) -> None:
    rows = listed(broken[1])

    assert len(rows) == 14
    for number, (_, reason) in enumerate(BREAKAGES.values(), 1):
        row = rows.pop(f"P{number:03d}")
        assert row["state"] == "refused"
        assert reason in row["reason"]
        assert not (broken[1] / "denoised" / row["patient"]).exists()
    assert {row["state"] for row in rows.values()} == {"done"}
    assert ldctpipe("cohort", "check", broken[1] / "manifest.json") == ExitCode.INPUT


def test_checksums_are_those_of_the_files_and_no_identity_is_told(broken: tuple[Path, Path]) -> None:
    out = broken[1]
    for row in listed(out).values():
        assert row["output_checksums"] == {
            path.name: sha256_of_file(path) for path in (out / row["folder"]).glob("*.dcm") if row["folder"]
        }
    told = (out / "manifest.json").read_text() + (out / "manifest.csv").read_text()
    assert "MRN" not in told
    assert "Doe" not in told
    assert str(broken[0]) not in told


def test_what_is_done_or_refused_is_not_planned_again(broken: tuple[Path, Path], tiny_bundle: Path) -> None:
    cohort, out = broken

    assert plan(cohort, out, tiny_bundle) == []
    assert len(plan(cohort, out, tiny_bundle, "--blend", "0.5")) == 14, "another job"


def test_new_changed_and_removed_patients_are_planned_and_no_others(tiny_bundle: Path, tmp_path: Path) -> None:
    cohort, out = write_patients(tmp_path / "cohort", range(1, 6)), tmp_path / "out"
    denoise(cohort, out, tiny_bundle)
    mark = out / "mark"
    mark.touch()
    (tmp_path / "mark").symlink_to(mark)
    write_patients(cohort, range(1))
    os.utime(next((cohort / "P002").iterdir()), ns=(0, 0))
    next((out / "denoised" / "P004").glob("*.dcm")).unlink()

    rows = plan(cohort, out, tiny_bundle, "--results", tmp_path / "mark", "--task-slices", "4")

    assert [(row["group"], row["patient"]) for row in rows] == [("P000", "P000"), ("P000", "P002"), ("P004", "P004")]


def test_each_series_of_a_patient_is_there_as_soon_as_it_is_done(tiny_bundle: Path, tmp_path: Path) -> None:
    for number in range(3):
        uid = f"1.2.3.{number}"
        own = {"SeriesInstanceUID": uid, "SeriesNumber": number, **({"RescaleIntercept": 0} if number == 1 else {})}
        write_series(tmp_path / "cohort" / "P1" / f"{number}", slices=2, uid_root=uid, **own)
    dying = (
        "import os, signal, sys\n"
        "from ldctpipe.cli.app import run\n"
        "import ldctpipe.inference.denoise as module\n"
        "write, calls = module.write_derived_series, []\n"
        "def dies_in_the_second(*arguments, **options):\n"
        "    calls.append(write(*arguments, **options))\n"
        "    if len(calls) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return calls[-1]\n"
        "module.write_derived_series = dies_in_the_second\n"
        "run(sys.argv[1:])\n"
    )
    out = tmp_path / "out"
    command = ["cohort", "denoise", str(tmp_path / "cohort"), str(out), "--model", str(tiny_bundle), "--device", "cpu"]
    assert subprocess.run([sys.executable, "-c", dying, *command], check=False).returncode == -signal.SIGKILL
    first = {path.name: path.stat().st_ino for path in (out / "denoised" / "P1").glob("*.dcm")}
    assert len(first) == 2

    denoise(tmp_path / "cohort", out, tiny_bundle)

    files = {path.name: path.stat().st_ino for path in (out / "denoised" / "P1").glob("*.dcm")}
    assert len(files) == 4
    assert first.items() <= files.items(), "the same files, not made again"
    states = [one["state"] for one in json.loads((out / "denoised" / "P1" / "manifest.json").read_text())["series"]]
    assert sorted(states) == ["denoised", "denoised", "refused"]
    manifest = [one["state"] for one in _rows(out)]
    assert sorted(manifest) == ["done", "done", "refused"]


def _rows(out: Path) -> list[dict]:
    listed(out)
    return json.loads((out / "manifest.json").read_text())["series"]


def test_another_model_or_setting_replaces_the_results(tiny_bundle: Path, tmp_path: Path) -> None:
    cohort, out = write_patients(tmp_path / "cohort", range(2)), tmp_path / "out"
    denoise(cohort, out, tiny_bundle)

    denoise(cohort, out, tiny_bundle, "--blend", "0")

    assert {row["settings"] for row in _rows(out)} == {"blend=0"}
    sources = {pydicom.dcmread(path).PixelData for path in cohort.rglob("*.dcm")}
    assert {pydicom.dcmread(path).PixelData for path in out.rglob("*.dcm")} == sources


def test_results_go_to_the_folder_that_a_link_leads_to_and_stay_here_without_one(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    cohort, results = write_patients(tmp_path / "cohort", range(1)), tmp_path / "results"
    results.mkdir()
    (results / "mark").touch()
    (tmp_path / "link").symlink_to(results / "mark")
    (tmp_path / "copy").touch()

    denoise(cohort, tmp_path / "here", tiny_bundle, "--results", tmp_path / "link")
    denoise(cohort, tmp_path / "there", tiny_bundle, "--results", tmp_path / "copy")

    assert results_beside(tmp_path / "copy") is None
    assert (results / "denoised" / "P000" / "manifest.json").is_file()
    assert [path.name for path in (tmp_path / "here").rglob("*") if path.is_file()] == ["P000.json"]
    assert (tmp_path / "there" / "denoised" / "P000" / "manifest.json").is_file()


def test_a_bug_with_one_patient_is_told_and_tried_again(tiny_bundle: Path, tmp_path: Path, monkeypatch) -> None:
    from ldctpipe.inference import denoise as module

    cohort, out = write_patients(tmp_path / "cohort", range(3)), tmp_path / "out"
    write = module.write_derived_series
    calls: list[int] = []

    def fails_once(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("Doe^Jane")
        return write(*arguments, **options)

    monkeypatch.setattr(module, "write_derived_series", fails_once)
    denoise(cohort, out, tiny_bundle)

    rows = listed(out)
    assert [row["state"] for row in rows.values()] == ["done", "failed", "done"]
    assert rows["P001"]["reason"].endswith("KeyError")
    assert [row["patient"] for row in plan(cohort, out, tiny_bundle)] == ["P001"]


def test_a_planned_patient_without_a_record_has_failed(tiny_bundle: Path, tmp_path: Path) -> None:
    cohort, out = write_patients(tmp_path / "cohort", range(2)), tmp_path / "out"
    plan(cohort, out, tiny_bundle)
    denoise(cohort, out, tiny_bundle)
    (out / "pipeline_info" / "patients" / "P001.json").write_text('{"format": "ldct')  # half copied

    rows = listed(out, "--plan", tmp_path / "plan.csv")

    assert [row["state"] for row in rows.values()] == ["done", "failed"]


def test_what_is_no_folder_of_records_is_refused(tmp_path: Path) -> None:
    (tmp_path / "records").touch()

    with pytest.raises(InputError, match="not a folder of records"):
        read_records(tmp_path / "records")
    assert read_records(tmp_path / "of a first run") == {}


def test_a_manifest_of_nothing_is_refused(tmp_path: Path, capfd) -> None:
    (tmp_path / "loop").symlink_to("loop")

    for results in (tmp_path / "typo", tmp_path, tmp_path / "loop"):
        assert run(["cohort", "manifest", str(results), str(tmp_path / "out")]) == ExitCode.INPUT
        assert "holds no folder pipeline_info/patients" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_links_in_a_circle_are_no_place_for_results(tiny_bundle: Path, tmp_path: Path, capfd) -> None:
    cohort = write_patients(tmp_path / "cohort", range(1))
    (tmp_path / "loop").symlink_to("loop")

    command = ("cohort", "denoise", cohort, tmp_path / "loop", "--model", tiny_bundle, "--device", "cpu", "--quiet")
    assert run([str(argument) for argument in command]) == ExitCode.IO
    assert "Too many levels of symbolic links" in capfd.readouterr().err

"""No name is code or syntax, and every file is found: scans, sheets, models that a shell would take apart."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pydicom
import pytest
from nextflow_run import REPOSITORY, run_nextflow
from odd_names import COMMAND, HARD, MARKER, drawn_names
from small_dicom import write_series

from ldctpipe.inference.cohort_mapping import write_mapping

pytestmark = pytest.mark.pipeline
DRAWN = 300


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], list[list[list[str]]], dict[str, Any]]:
    """The folder of a run over drawn names, these, tables of them, and what the pipeline's functions made of all."""
    folder = tmp_path_factory.mktemp("names")
    names = drawn_names(DRAWN, seed=7)
    for name in names:
        (folder / "files" / name).mkdir(parents=True)
    tables = [[["patient", "low_dose"], *([f"P{n}", name] for n, name in enumerate(names[at::10]))] for at in range(10)]
    asked = {"names": names, "tables": [_csv(table) for table in tables]}
    (folder / "asked.json").write_text(json.dumps(asked))
    (folder / "mappings").mkdir()
    (folder / "mappings" / "other.csv").write_text("another,table\n1,2\n")
    for part in range(2):
        write_mapping(folder / "mappings" / f"{part}.csv", _mapped(names)[part * 40 : part * 40 + 60])
    command = [REPOSITORY / "bin" / "nextflow", "run", REPOSITORY / "tests" / "pipeline" / "names.nf"]
    subprocess.run(
        [*command, "--asked", folder / "asked.json", "--answers", folder / "answers.json"],
        cwd=folder, check=True, capture_output=True, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    return folder, names, tables, json.loads((folder / "answers.json").read_text())


def _mapped(names: list[str]) -> list[tuple[str, str]]:
    """Published names for patients of these names, of which one is no text."""
    plain = [name for name in names if name == name.strip() and "\r" not in name]
    return [(f"{number:016x}", name) for number, name in enumerate([os.fsdecode(b"M\xfcller"), *plain[:99]])]


def _csv(table: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(table)
    return text.getvalue()


def _words(folder: Path, words: list[str]) -> list[str]:
    """What bash makes of words of a script, in a folder full of names that a glob could find."""
    script = f"printf '%s\\0' {' '.join(words)}".encode()
    done = subprocess.run(["bash", "-eu"], input=script, cwd=folder / "files", capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def test_what_nextflow_writes_of_a_drawn_name_is_one_word_to_the_shell(judged: Any) -> None:
    folder, names, _, answers = judged
    answered = answers["names"]
    assert all(answer["fault"] is None and answer["again"] for answer in answered)
    assert _words(folder, [answer["staging"] for answer in answered]) == [answer["staged"] for answer in answered]
    for name, found in zip(names, _words(folder, [answer["script"] for answer in answered]), strict=True):
        assert Path(found).resolve() == (folder / "files" / name).resolve()
    assert not list(folder.rglob(MARKER))


def test_quoted_text_is_one_word_and_a_sentence_is_one_line(judged: Any) -> None:
    folder, names, _, answers = judged
    assert _words(folder, [answer["quoted"] for answer in answers["names"]]) == names
    for name, answer in zip(names, answers["names"], strict=True):
        assert len(answer["line"].splitlines()) == 1 and "\x1b" not in answer["line"] and "\u202e" not in answer["line"]
        assert answer["line"] == name or not name.isprintable() or "\u202e" in name
    assert not list(folder.rglob(MARKER))


def test_mappings_are_added_up_to_one_that_only_its_owner_can_read(judged: Any) -> None:
    folder, names, _, _ = judged
    mapping = folder / "mapping.csv"
    assert mapping.stat().st_mode & 0o777 == 0o600
    with io.StringIO(os.fsdecode(mapping.read_bytes()), newline="") as stream:
        assert sorted(csv.reader(stream)) == sorted([["published", "patient"], *map(list, _mapped(names))])


def test_tables_are_read_as_another_reader_of_csv_reads_them(judged: Any) -> None:
    _, _, tables, answers = judged
    assert answers["tables"] == [[row for row in table if any(row)] for table in tables]


@pytest.mark.slow
def test_scans_of_any_name_are_denoised_each_as_itself(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    names = drawn_names(len(HARD) + 15, seed=11)
    for number, name in enumerate(names):
        write_series(tmp_path / "scans" / name, slices=2, StationName=f"S{number}")
    (tmp_path / COMMAND).symlink_to(tiny_bundle)
    rows = [["patient", "low_dose", "full_dose", "split"]]
    rows += [[f"P{number:02}", f"scans/{name}", "", "test"] for number, name in enumerate(names)]
    (tmp_path / f"scans [1] {COMMAND}\n.csv").write_text(_csv(rows), newline="")

    run = run_nextflow(
        tmp_path, "-profile", "cpu", "--workflow", "denoise", "--input", f"scans [1] {COMMAND}\n.csv",
        "--model", COMMAND, "--blend", "0",
    )  # fmt: skip

    assert run.code == 0, run.said
    assert not list(tmp_path.rglob(MARKER))
    with (run.results / "manifest.csv").open(newline="") as stream:
        assert [(row["patient"], row["state"]) for row in csv.DictReader(stream)] == [
            (f"P{number:02}", "done") for number in range(len(names))
        ]
    for number in range(len(names)):
        derived = [pydicom.dcmread(file) for file in (run.results / "denoised" / f"P{number:02}").glob("*.dcm")]
        assert [image.StationName for image in derived] == [f"S{number}"] * 2

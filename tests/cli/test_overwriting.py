"""Commands that write a file: what is there stays without --overwrite, and what is something else stays with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_dicom import write_series

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode

# Each with the name of the file that it would replace; the inputs need not be there, as nothing is read before.
WRITERS = (
    (("samplesheet", "IN", "OUT"), "sheet.csv"),
    (("checksums", "OUT", "--patient", "P1", "--low-dose", "IN"), "sums.json"),
    (("report", "IN", "OUT"), "page.html"),
    (("figure", "augmentation", "IN", "OUT"), "figure.png"),
    (("figure", "training", "IN", "OUT"), "figure.svg"),
    (("figure", "methods", "IN", "OUT", "--model", "IN"), "figure.png"),
    (("sweep", "table1", "OUT", "--recipe", "red-cnn"), "plan.csv"),
    (("sweep-report", "IN", "OUT"), "sweep.html"),
    (("cohort", "plan", "IN", "OUT", "--model", "IN"), "plan.csv"),
)
IDS = [" ".join(command[:2]) for command, _ in WRITERS]


def arguments(command: tuple[str, ...], source: Path, out: Path) -> list[str]:
    return [{"IN": str(source), "OUT": str(out)}.get(word, word) for word in command]


@pytest.mark.parametrize(("command", "name"), WRITERS, ids=IDS)
def test_a_file_that_is_there_stays(tmp_path: Path, capsys, command: tuple[str, ...], name: str) -> None:
    out = tmp_path / name
    out.write_bytes(b"\xff somebody else's")

    assert run(arguments(command, tmp_path / "in", out)) == ExitCode.INPUT
    assert f"{out}: already exists; name another file or add --overwrite." in capsys.readouterr().err
    assert run([*arguments(command, tmp_path / "in", out), "--overwrite"]) == ExitCode.INPUT
    assert f"{out}: is not a file that this command wrote; name another file." in capsys.readouterr().err
    assert out.read_bytes() == b"\xff somebody else's"


@pytest.mark.parametrize(("command", "name"), WRITERS, ids=IDS)
def test_no_dicom_file_is_ever_replaced(tmp_path: Path, command: tuple[str, ...], name: str) -> None:
    image = min(write_series(tmp_path / "scan", slices=1).iterdir())
    before = image.read_bytes()
    (tmp_path / name).symlink_to(image)

    assert run([*arguments(command, image, tmp_path / name), "--overwrite"]) in (ExitCode.INPUT, ExitCode.USAGE)

    assert image.read_bytes() == before


def test_an_edited_sheet_is_replaced_only_where_that_is_asked_for_and_never_as_an_input(tmp_path: Path, capsys) -> None:
    write_series(tmp_path / "cohort" / "P1", slices=1)
    sheet = tmp_path / "sheet.csv"
    assert run(["samplesheet", str(tmp_path / "cohort"), str(sheet)]) == ExitCode.DONE
    edited = sheet.read_text().replace("split", "split,comment", 1)
    sheet.write_text(edited)

    assert run(["samplesheet", str(tmp_path / "cohort"), str(sheet)]) == ExitCode.INPUT
    assert run(["samplesheet", str(sheet), str(sheet), "--overwrite"]) == ExitCode.USAGE
    assert sheet.read_text() == edited
    assert run(["samplesheet", str(tmp_path / "cohort"), str(sheet), "--overwrite"]) == ExitCode.DONE
    assert "comment" not in sheet.read_text()


def test_the_tables_beside_a_page_are_looked_at_too(tmp_path: Path, capsys) -> None:
    (tmp_path / "runs").mkdir()
    plan = tmp_path / "runs" / "plan.json"
    plan.write_text("{}")

    assert run(["sweep-report", str(tmp_path), str(plan.with_suffix(".html")), "--overwrite"]) == ExitCode.USAGE
    assert "plan.json: is an input of this command" in capsys.readouterr().err
    assert run(["sweep", "table1", str(tmp_path / "runs" / "plan.csv"), "--recipe", "red-cnn"]) == ExitCode.INPUT
    assert plan.read_text() == "{}"


def test_a_manifest_of_something_else_is_not_taken_for_a_cohorts(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "app"}')

    for option in ([], ["--overwrite"]):
        assert run(["cohort", "manifest", str(tmp_path), str(tmp_path), *option]) == ExitCode.INPUT
    assert (tmp_path / "manifest.json").read_text() == '{"name": "app"}'

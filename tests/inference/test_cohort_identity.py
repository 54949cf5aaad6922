"""A cohort without identity: nothing among the results has the name of a patient's folder, and runs find them again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_dicom import write_series

from ldctpipe.cli.app import run
from ldctpipe.dicom.deidentification import Deidentifier
from ldctpipe.errors import ExitCode
from ldctpipe.inference.cohort_record import PatientRecord, without_names

NAMES = ("Doe^Jane", "Müller", "000012345678")


@given(st.text(min_size=1, max_size=300), st.binary(min_size=32, max_size=32))
def test_published_names_are_stable_plain_and_depend_on_the_key(name: str, key: bytes) -> None:
    published = Deidentifier(key).published_name(name)

    assert published == Deidentifier(key).published_name(published), "a published name stands for itself"
    assert published.isascii()
    assert published.isalnum()
    assert published != Deidentifier(key[::-1] + b"x").published_name(name)


def test_reasons_name_no_source() -> None:
    record = PatientRecord("0a1b", "refused", "", "", "", "", reason="Doe^Jane and /x/Doe^Jane/y hold Doe^Janet; say X")

    told = without_names(record, ("Doe^Jane", "Doe^Jane", "/x/Doe^Jane")).reason

    assert told == "0a1b and 0a1b/y hold Doe^Janet; say X"


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A sheet of three patients; the second one has no CT."""
    rows = ["patient,low_dose,full_dose,split"]
    for number, name in enumerate(NAMES):
        folder = tmp_path / "scans" / name
        write_series(folder, slices=1, uid_root=f"1.2.{number}", SeriesInstanceUID=f"1.2.{number}", PatientID=name)
        rows.append(f"P{number}-{name.replace('^', '_').replace('ü', 'u')},scans/{name},,test")
    for path in (tmp_path / "scans" / "Müller").iterdir():
        path.write_text("no DICOM")
    (tmp_path / "sheet.csv").write_text("\n".join(rows))
    return tmp_path / "sheet.csv"


def ldctpipe(*arguments: str | Path) -> int:
    return run([str(argument) for argument in arguments])


def test_nothing_among_the_results_names_a_source(cohort: Path, tiny_bundle: Path, tmp_path: Path, capsys) -> None:
    key, out, mapping = tmp_path / "key", tmp_path / "out", tmp_path / "private" / "mapping.csv"
    key.write_text("k" * 40)
    key.chmod(0o600)
    options = ("--model", tiny_bundle, "--deidentify", "--deidentification-key", key, "--mapping", mapping)
    plan = ("cohort", "plan", cohort, tmp_path / "plan.csv", *options, "--records", out / "pipeline_info" / "patients")
    denoise = ("cohort", "denoise", cohort, out, *options, "--device", "cpu")

    assert ldctpipe(*plan) == ExitCode.DONE
    assert ldctpipe(*denoise) == ExitCode.DONE
    assert ldctpipe("cohort", "manifest", out, out, "--plan", tmp_path / "plan.csv") == ExitCode.DONE

    said = capsys.readouterr()
    texts = [str(path.relative_to(out)) for path in out.rglob("*")]
    texts += [path.read_bytes().decode("latin-1") for path in out.rglob("*") if path.is_file()]
    texts += [(tmp_path / "plan.csv").read_text(), said.out]
    for source in ("Doe", "Jane", "Müller", "Muller", "000012345678", "P0-", "P1-", "P2-"):
        assert not [text for text in texts if source in text], source
    with mapping.open(newline="") as stream:
        names = {row["published"]: row["patient"] for row in csv.DictReader(stream)}
    assert set(names.values()) == {"P0-Doe_Jane", "P1-Muller", "P2-000012345678"}
    assert mapping.stat().st_mode & 0o777 == 0o600
    rows = json.loads((out / "manifest.json").read_text())["series"]
    assert {names[row["patient"]]: row["state"] for row in rows}["P0-Doe_Jane"] == "done"

    # again: everything is known by its published name, and the mapping stays as it is
    assert ldctpipe(*plan, "--overwrite") == ExitCode.DONE
    assert len((tmp_path / "plan.csv").read_text().splitlines()) <= 2, "at most the one without a scan is left"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    assert ldctpipe(*denoise) == ExitCode.DONE
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")} == before
    assert len(mapping.read_text().splitlines()) == 4


def test_staged_scans_go_by_the_names_of_the_plan(cohort: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 40)
    published = Deidentifier(b"k" * 40).published_name("P0-Doe_Jane")
    (tmp_path / "staged" / "1").mkdir(parents=True)
    (tmp_path / "staged" / "1" / "Doe^Jane").symlink_to(tmp_path / "scans" / "Doe^Jane")

    for number, name in enumerate((published, "P0-Doe_Jane")):
        command = ("cohort", "denoise", tmp_path / "staged", tmp_path / f"out{number}", "--patients", name)
        options = ("--model", tiny_bundle, "--deidentify", "--deidentification-key", key, "--device", "cpu")
        assert ldctpipe(*command, *options) == ExitCode.DONE

        assert [path.name for path in (tmp_path / f"out{number}" / "denoised").iterdir()] == [published]


def test_a_mapping_lies_outside_the_results_and_replaces_nothing(
    cohort: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.csv").write_text("mine")
    denoise = ("cohort", "denoise", cohort, tmp_path / "out", "--model", tiny_bundle)

    assert ldctpipe(*denoise, "--mapping", tmp_path / "m.csv") == ExitCode.USAGE
    assert ldctpipe(*denoise, "--deidentify", "--mapping", tmp_path / "out" / "m.csv") == ExitCode.USAGE
    assert ldctpipe(*denoise, "--deidentify", "--mapping", tmp_path / "notes.csv") == ExitCode.INPUT
    assert (tmp_path / "notes.csv").read_text() == "mine"
    assert not (tmp_path / "out").exists()


def test_results_that_name_patients_take_none_that_must_not(tmp_path: Path, tiny_bundle: Path, capfd) -> None:
    write_series(tmp_path / "cohort" / "Zaphod", slices=1)
    command = ("cohort", "denoise", tmp_path / "cohort", tmp_path / "out", "--model", tiny_bundle, "--device", "cpu")
    assert ldctpipe(*command) == ExitCode.DONE

    assert ldctpipe(*command, "--deidentify") == ExitCode.INPUT

    assert "without de-identification" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "out" / "denoised").iterdir()] == ["Zaphod"]


def test_results_inside_the_cohort_are_no_patient(tiny_bundle: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "cohort" / "P1", slices=1)
    out = tmp_path / "cohort" / "out"

    for _ in range(2):
        command = ("cohort", "denoise", tmp_path / "cohort", out, "--model", tiny_bundle, "--device", "cpu")
        assert ldctpipe(*command) == ExitCode.DONE

    assert [path.name for path in (out / "denoised").iterdir()] == ["P1"]
    assert [path.name for path in (out / "pipeline_info" / "patients").iterdir()] == ["P1.json"]

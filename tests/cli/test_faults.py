"""What bad input gets: one sentence with the file, the fault and the remedy, the right exit code, nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest
from small_dicom import write_series

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode, StoppedEarly


@pytest.fixture
def fails(capfd):
    """A function that runs a command line that fails, holds it to one sentence, and returns exit code and sentence."""

    def check(*arguments: str | Path) -> tuple[int, str]:
        code = run([str(argument) for argument in arguments])
        errors = capfd.readouterr().err.strip().splitlines()
        assert "Traceback" not in "".join(errors)
        sentences = [line for line in errors if line.startswith("ldctpipe: ")]
        assert len(sentences) == 1, errors
        assert sentences[0].endswith((".", ")"))
        return code, sentences[0]

    return check


@pytest.mark.parametrize("command", [("inspect",), ("ingest", "OUT"), ("simulate", "OUT"), ("samplesheet", "OUT")])
def test_a_path_that_is_not_there(fails, tmp_path, command):
    name, *rest = command

    code, sentence = fails(name, tmp_path / "nowhere", *(tmp_path / part for part in rest))

    assert code == ExitCode.INPUT
    assert f"{tmp_path}/nowhere: does not exist" in sentence
    assert not (tmp_path / "OUT").exists()


@pytest.mark.parametrize("command", ["ingest", "simulate", "samplesheet"])
def test_an_empty_folder(fails, tmp_path, command):
    (tmp_path / "empty").mkdir()

    code, sentence = fails(command, tmp_path / "empty", tmp_path / "OUT")

    assert code == ExitCode.INPUT
    assert "empty" in sentence
    assert not (tmp_path / "OUT").exists()


def test_a_text_file_called_dcm(fails, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.dcm").write_text("hello")

    code, sentence = fails("ingest", tmp_path / "in", tmp_path / "OUT")

    assert code == ExitCode.INPUT
    assert "x.dcm" in sentence
    assert "DICOM" in sentence


def test_a_dicom_file_cut_short(fails, tmp_path):
    (path,) = write_series(tmp_path / "in", slices=1).iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 100])

    code, sentence = fails("ingest", path, tmp_path / "OUT")

    assert code == ExitCode.INPUT
    assert path.name in sentence


def sheet(folder: Path, text: str) -> Path:
    for name in ("a", "b"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "sheet.csv").write_text(text)
    return folder / "sheet.csv"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("patient,low_dose,split\nP1,a,train\n", "no column full_dose"),
        ("patient,low_dose,full_dose,split\nP1,a,b,train\nP1,a,b,train\n", "patient P1 is there twice"),
        ("patient,low_dose,full_dose,split\nP1,a,b,train\nP1,a,b,test\n", "patient P1 is in test and train"),
        ("patient,low_dose,full_dose,split\nP1,a,nowhere,train\n", "full_dose path that isn't there: nowhere"),
        ("patient,low_dose,full_dose,split\nP1,a,b,training\n", "unknown split 'training'"),
        ("patient,low_dose,full_dose,split\n", "has no rows"),
        ("patient,low_dose,full_dose,split\nP1,a,b,test\n", "no patient to train on"),
    ],
)
def test_a_samplesheet_at_fault(fails, tmp_path, text, says):
    code, sentence = fails("prepare", sheet(tmp_path, text), tmp_path / "OUT")

    assert code == ExitCode.INPUT
    assert "sheet.csv" in sentence
    assert says in sentence
    assert not (tmp_path / "OUT").exists()


def test_a_low_dose_series_whose_slices_lie_between_those_of_the_full_dose(fails, tiny_cases, tmp_path):
    shutil.copytree(tiny_cases / "cases", tmp_path / "cases")
    full = tmp_path / "cases" / "P1" / "full_dose"
    low = tmp_path / "cases" / "P1" / "low_dose" / "P1low_dose"
    from dataclasses import replace

    from ldctpipe.volumes.case import read_case, write_case

    volume = read_case(low)
    affine = volume.affine.copy()
    affine[2, 3] += 1.5  # half a slice distance
    shifted = replace(volume, hu=volume.hu.copy(), affine=affine)
    shutil.rmtree(low)
    low.mkdir()
    write_case(low, shifted)

    text = f"patient,low_dose,full_dose,split\nP1,{low},{full},train\n"
    code, sentence = fails("prepare", sheet(tmp_path, text), tmp_path / "OUT")

    assert code == ExitCode.INPUT
    assert "P1" in sentence
    assert "1.5 mm" in sentence and "same slice positions" in sentence


def test_an_unknown_recipe_or_key_or_type(fails, tiny_store, tmp_path):
    for arguments, says in (
        (("--recipe", "nothing-like-it"), "nothing-like-it"),
        (("--recipe", "wgan-gp-effnetv2-mini", "--set", "losses.nothing=1"), "losses.nothing"),
        (("--recipe", "wgan-gp-effnetv2-mini", "--set", "losses.pixel=much"), "losses.pixel"),
    ):
        code, sentence = fails("train", tiny_store, tmp_path / "OUT", *arguments)
        assert code == ExitCode.USAGE
        assert says in sentence


def test_usage_at_fault(fails, tmp_path):
    assert fails("denoise", tmp_path, tmp_path / "OUT")[0] == ExitCode.USAGE  # no model
    assert fails("denoise", tmp_path, tmp_path / "OUT", "--model", tmp_path, "--blend", "2")[0] == ExitCode.USAGE
    assert fails("nothing")[0] == ExitCode.USAGE
    code, sentence = fails("simulate", tmp_path, tmp_path / "OUT", "--dose", "1.5")
    assert code == ExitCode.USAGE
    assert "dose" in sentence


def test_a_folder_that_is_no_bundle(fails, tmp_path):
    series = tmp_path / "in"
    write_series(series, slices=1)

    code, sentence = fails("denoise", series, tmp_path / "OUT", "--model", series)

    assert code == ExitCode.INPUT
    assert "card.json" in sentence


def test_an_output_folder_that_is_full(fails, tmp_path):
    write_series(tmp_path / "in", slices=2)
    (tmp_path / "OUT").mkdir()
    (tmp_path / "OUT" / "precious").write_text("data")

    for command in ("ingest", "simulate"):
        code, sentence = fails(command, tmp_path / "in", tmp_path / "OUT")
        assert code == ExitCode.INPUT
        assert "OUT" in sentence
        assert [file.name for file in (tmp_path / "OUT").iterdir()] == ["precious"]


@pytest.mark.parametrize("command", ["ingest", "simulate"])
def test_overwriting_never_replaces_the_input(fails, tmp_path, command):
    source = write_series(tmp_path / "all" / "in", slices=2)
    before = sorted(source.iterdir())

    for out in (source, tmp_path / "all"):
        code, sentence = fails(command, source, out, "--overwrite")
        assert code == ExitCode.USAGE
        assert f"{'would replace' if out == source else 'holds'} the input {source}" in sentence

    assert sorted(source.iterdir()) == before


def test_overwriting_replaces_earlier_cases_and_nothing_else(fails, tmp_path):
    source = write_series(tmp_path / "in", slices=2)
    assert run(["ingest", str(source), str(tmp_path / "OUT")]) == ExitCode.DONE
    assert run(["ingest", str(source), str(tmp_path / "OUT"), "--overwrite"]) == ExitCode.DONE
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "manifest.json").write_text('{"name": "somebody else\'s"}')

    code, sentence = fails("ingest", source, tmp_path / "photos", "--overwrite")

    assert code == ExitCode.INPUT
    assert "holds files that ldctpipe didn't write" in sentence
    assert (tmp_path / "photos" / "manifest.json").is_file()


def test_a_disk_that_fills_up(fails, tmp_path, small_disk):
    write_series(tmp_path / "in", slices=40)

    code, sentence = fails("ingest", tmp_path / "in", small_disk / "OUT")

    assert code == ExitCode.IO
    assert f"{small_disk / 'OUT'}: {os.strerror(errno.ENOSPC)}; free some space" in sentence
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_half_written(tmp_path, number):
    command = [sys.executable, "-m", "ldctpipe.cli.app", "phantom", str(tmp_path / "OUT"), "--patients", "9"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(tmp_path.glob(".OUT*")):
        time.sleep(0.1)

    process.send_signal(number)

    _, errors = process.communicate(timeout=60)
    assert process.returncode == ExitCode.RESUMABLE
    assert "nothing half-written" in errors.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_help_answers_without_the_heavy_libraries():
    code = "import sys; from ldctpipe.cli.app import run; run(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = done.stdout.splitlines()[-1]

    for heavy in ("torch", "numpy", "pandas", "pydicom", "matplotlib", "pydantic"):
        assert f"'{heavy}'" not in loaded


def test_no_identifier_reaches_messages(capfd, tmp_path):
    for path in write_series(tmp_path / "in", slices=2).iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = "Secret^Person", "SECRET-4711"
        dataset.save_as(path)

    assert run(["ingest", str(tmp_path / "in"), str(tmp_path / "OUT")]) == ExitCode.DONE

    captured = capfd.readouterr()
    written = "".join(file.read_text() for file in (tmp_path / "OUT").rglob("*.json"))
    names = "".join(str(file) for file in (tmp_path / "OUT").rglob("*"))
    assert "secret" not in (captured.out + captured.err + written + names).lower()


def test_a_signal_is_not_taken_for_a_damaged_file(fails, tmp_path, monkeypatch):
    (path,) = write_series(tmp_path / "in", slices=1).iterdir()

    def stop(*_arguments, **_options):
        raise StoppedEarly("stopped by SIGTERM.")

    monkeypatch.setattr("ldctpipe.dicom.discovery.header_of", stop)

    assert fails("inspect", path) == (ExitCode.RESUMABLE, "ldctpipe: stopped by SIGTERM.")


def test_no_command_at_all_lists_the_commands_a_line_each(capfd):
    assert run([]) == ExitCode.USAGE

    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("Usage: ldctpipe")
    assert any(line.strip().startswith("denoise ") for line in lines)

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
from ldctpipe.errors import ExitCode
from ldctpipe.files import new_file, new_folder


@pytest.fixture
def fails(capfd):
    """A function that runs a command line, holds it to one sentence on stderr, and returns the exit code and the sentence."""

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
        ("patient,low_dose,split\nP1,a,train\n", "full_dose"),
        ("patient,low_dose,full_dose,split\nP1,a,b,train\nP1,a,b,train\n", "P1"),
        ("patient,low_dose,full_dose,split\nP1,a,b,train\nP1,a,b,test\n", "P1"),
        ("patient,low_dose,full_dose,split\nP1,a,nowhere,train\n", "nowhere"),
        ("patient,low_dose,full_dose,split\nP1,a,b,training\n", "training"),
        ("patient,low_dose,full_dose,split\n", "no"),
        ("patient,low_dose,full_dose,split\nP1,a,b,test\n", "no patient to train on"),
    ],
)
def test_a_samplesheet_at_fault(fails, tmp_path, text, says):
    code, sentence = fails("prepare", sheet(tmp_path, text), tmp_path / "OUT")

    assert code == ExitCode.INPUT
    assert "sheet.csv" in sentence
    assert says in sentence
    assert not (tmp_path / "OUT").exists()


def test_a_low_dose_series_with_fewer_slices(fails, tiny_cases, tmp_path):
    shutil.copytree(tiny_cases / "cases", tmp_path / "cases")
    full = tmp_path / "cases" / "P1" / "full_dose"
    low = tmp_path / "cases" / "P1" / "low_dose" / "P1low_dose"
    from dataclasses import replace

    from ldctpipe.volumes.case import read_case, write_case

    volume = read_case(low)
    shorter = replace(volume, hu=volume.hu[:3].copy(), positions_mm=volume.positions_mm[:3])
    shutil.rmtree(low)
    low.mkdir()
    write_case(low, shorter)

    text = f"patient,low_dose,full_dose,split\nP1,{low},{full},train\n"
    code, sentence = fails("prepare", sheet(tmp_path, text), tmp_path / "OUT")

    assert code == ExitCode.INPUT
    assert "P1" in sentence
    assert "slice" in sentence


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


def test_a_disk_that_fills_up(fails, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        write_series(tmp_path / "in", slices=40)
        code, sentence = fails("ingest", tmp_path / "in", small / "OUT")
        assert code == ExitCode.IO
        assert os.strerror(errno.ENOSPC) in sentence
        assert "free some space" in sentence
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


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


def test_outputs_appear_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "folder") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    with pytest.raises(RuntimeError), new_file(tmp_path / "file") as file:
        file.write_text("half")
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


def test_overwriting_replaces_the_whole_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("x")

    with new_folder(tmp_path / "out", overwrite=True) as folder:
        (folder / "new").write_text("y")

    assert [file.name for file in (tmp_path / "out").iterdir()] == ["new"]
    assert [file.name for file in tmp_path.iterdir()] == ["out"]

"""A store is the same whoever wrote it in however many pieces: in parallel, killed and gone on, on a disk that lies."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_preparation import cohort

from ldctpipe.data import patient_part, preparation
from ldctpipe.data.patient_scans import PatientScans
from ldctpipe.data.preparation import prepare_store
from ldctpipe.data.simulated_doses import SimulatedDoses
from ldctpipe.data.store import open_store
from ldctpipe.errors import ExitCode, InputError, StoppedEarly
from ldctpipe.simulation.exposure import DoseRange

SLICES = 4
NIFTI_HEADER_BYTES = 352
# A command line that gets a signal at its sixth slice: with one thread, when the first of three patients is done.
SIGNALLED = """
import os, sys, time
from ldctpipe.cli.app import main
from ldctpipe.data import patient_part
number, *arguments = sys.argv[1:]
slices, body_origins = [], patient_part.body_origins
def signalled(*arguments):
    slices.append(1)
    if len(slices) == 6:
        os.kill(os.getpid(), int(number))
        time.sleep(0.5)
    return body_origins(*arguments)
patient_part.body_origins = signalled
sys.argv[1:] = arguments
main()
"""


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohort(tmp_path_factory.mktemp("cohort"), ("train", "train", "validation"), SLICES, (64, 96))


@pytest.fixture(scope="module")
def whole(sheet: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return prepared(sheet, tmp_path_factory.mktemp("whole") / "store", threads=1)


def prepared(sheet: Path, store: Path, **settings) -> dict[str, bytes]:
    prepare_store(sheet, store, **settings)
    assert not list(store.parent.glob(".*"))
    return {path.name: path.read_bytes() for path in store.iterdir()}


def break_at_slice(monkeypatch: pytest.MonkeyPatch, number: int, fail: Callable[[], None]) -> None:
    seen: list[int] = []
    body_origins = patient_part.body_origins

    def failing(*arguments):
        seen.append(1)
        if len(seen) == number:
            fail()
        return body_origins(*arguments)

    monkeypatch.setattr(patient_part, "body_origins", failing)


def stop() -> None:
    raise StoppedEarly("stopped")


def scribble_unnoticed(case: Path) -> None:
    """Change the pixels of a case and neither size nor time, so that only reading it again shows it."""
    file = case / "volume.nii"
    told, content = file.stat(), file.read_bytes()
    file.write_bytes(content[:NIFTI_HEADER_BYTES] + bytes(len(content) - NIFTI_HEADER_BYTES))
    os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))


@pytest.mark.parametrize("threads", [2, 5, None])
def test_any_number_of_workers_writes_the_same_bytes(sheet, whole, tmp_path, threads):
    assert prepared(sheet, tmp_path / "store", threads=threads) == whole


def test_the_fingerprint_is_that_of_the_pairs_in_their_order(sheet, tmp_path):
    description = prepare_store(sheet, tmp_path / "store")

    pairs = np.load(tmp_path / "store" / "pairs.npy")
    assert open_store(tmp_path / "store").fingerprint == hashlib.sha256(pairs.tobytes()).hexdigest()
    second = hashlib.sha256(pairs[SLICES : 2 * SLICES].tobytes()).hexdigest()
    assert description["checksums"]["P2"] == {"pairs.npy": second}


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3 * SLICES), st.sampled_from([1, 2, 3]), st.sampled_from([1, 3]))
def test_stopped_at_any_slice_it_goes_on_to_the_same_bytes(sheet, whole, number, threads, threads_later):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patches:
        break_at_slice(patches, number, stop)
        with pytest.raises(StoppedEarly):
            prepare_store(sheet, Path(folder, "store"), threads=threads)
        assert not Path(folder, "store").exists()

        assert prepared(sheet, Path(folder, "store"), threads=threads_later) == whole


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_after_a_signal_the_same_command_does_not_do_finished_patients_again(tmp_path, capsys, whole, number):
    sheet = cohort(tmp_path / "cohort", ("train", "train", "validation"), SLICES, (64, 96))
    command = [sys.executable, "-c", SIGNALLED, str(int(number)), "prepare", str(sheet), str(tmp_path / "store")]
    ended = subprocess.run([*command, "--threads", "1"], check=False, capture_output=True, text=True)
    assert ended.returncode == (-number if number == signal.SIGKILL else ExitCode.RESUMABLE), ended.stderr
    assert not (tmp_path / "store").exists()
    for role in ("low_dose", "full_dose"):
        scribble_unnoticed(tmp_path / "cohort" / "P1" / role / f"P1{role}")

    assert prepared(sheet, tmp_path / "store") == whole
    assert "going on: 1 of 3 patients are done" in capsys.readouterr().err


def stopped_after_two(monkeypatch: pytest.MonkeyPatch, sheet: Path, store: Path, **settings) -> None:
    with monkeypatch.context() as patches, pytest.raises(StoppedEarly):
        break_at_slice(patches, 2 * SLICES + 1, stop)
        prepare_store(sheet, store, threads=1, **settings)


def test_what_changed_meanwhile_is_done_again_and_the_rest_is_not(tmp_path, monkeypatch, capsys):
    sheet = cohort(tmp_path / "cohort", ("train", "train", "validation"), SLICES)
    stopped_after_two(monkeypatch, sheet, tmp_path / "store")
    changed = tmp_path / "cohort" / "P1" / "full_dose" / "P1full_dose" / "volume.nii"
    content = bytearray(changed.read_bytes())
    content[-2:] = (123).to_bytes(2, "little")
    changed.write_bytes(content)

    found = prepared(sheet, tmp_path / "store")

    assert "going on: 1 of 3 patients are done" in capsys.readouterr().err
    assert found == prepared(sheet, tmp_path / "anew")
    assert 123 in np.load(tmp_path / "store" / "pairs.npy")[SLICES - 1, 1]


@pytest.mark.parametrize("settings", [{"patch_size": 32}, {"simulated": SimulatedDoses(DoseRange(0.2, 0.2), 1)}])
def test_with_other_settings_all_is_done_again(sheet, tmp_path, monkeypatch, capsys, settings):
    stopped_after_two(monkeypatch, sheet, tmp_path / "store")

    found = prepared(sheet, tmp_path / "store", **settings)

    assert "going on" not in capsys.readouterr().err
    assert found == prepared(sheet, tmp_path / "anew", **settings)


def test_what_was_noise_of_other_settings_is_not_in_the_store(sheet, whole, tmp_path, monkeypatch):
    simulated = SimulatedDoses(DoseRange(0.2, 0.2), 1)
    stopped_after_two(monkeypatch, sheet, tmp_path / "store", simulated=simulated)

    assert prepared(sheet, tmp_path / "store") == whole


def test_a_part_that_the_disk_lost_is_not_taken_for_done(sheet, whole, tmp_path, monkeypatch, capsys):
    stopped_after_two(monkeypatch, sheet, tmp_path / "store")
    flip_a_byte(tmp_path / ".store.unfinished" / "result" / "pairs.npy", 1000)

    assert prepared(sheet, tmp_path / "store") == whole
    assert "going on: 1 of 3 patients are done" in capsys.readouterr().err


def flip_a_byte(path: Path, place: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(place)
        before = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([before ^ 1]))


@pytest.mark.parametrize("name", ["pairs.npy", "noise.npy"])
def test_a_byte_that_changes_after_it_was_written_is_found(tmp_path, monkeypatch, capsys, name):
    sheet = cohort(tmp_path / "cohort", ("train", "train"), 2)
    settings = {"simulated": SimulatedDoses(DoseRange(0.2, 0.4), 1, threads=1)}
    read_back = preparation._read_back

    def read_back_from_a_bad_disk(plans, parts, work):
        flip_a_byte(work.result / name, (work.result / name).stat().st_size - 1)
        return read_back(plans, parts, work)

    with monkeypatch.context() as patches, pytest.raises(OSError) as failure:
        patches.setattr(preparation, "_read_back", read_back_from_a_bad_disk)
        prepare_store(sheet, tmp_path / "store", **settings)

    assert failure.value.filename == str(tmp_path / "store")
    assert f"patient P2 does not read back from {name}" in failure.value.strerror
    assert not (tmp_path / "store").exists()
    assert prepared(sheet, tmp_path / "store", **settings) == prepared(sheet, tmp_path / "anew", **settings)
    assert "going on: 1 of 2 patients are done" in capsys.readouterr().err


@pytest.mark.parametrize("small_disk", ["1m"], indirect=True)
def test_a_full_disk_keeps_what_is_done(sheet, whole, tmp_path, small_disk, capsys):
    (small_disk / "ballast").write_bytes(bytes(600_000))  # with which there is room for two patients

    with pytest.raises(OSError) as failure:
        prepare_store(sheet, small_disk / "store", threads=1)
    assert failure.value.errno == errno.ENOSPC
    assert failure.value.filename == str(small_disk / "store")

    (small_disk / "ballast").unlink()
    assert prepared(sheet, small_disk / "store") == whole
    assert "going on: 2 of 3 patients are done" in capsys.readouterr().err


def test_a_scan_that_grows_while_it_is_read_spoils_no_other(sheet, tmp_path, monkeypatch):
    shapes = PatientScans.pair_shapes

    def one_slice_less(scans, threads):
        return [(slices - 1, rows, columns) for slices, rows, columns in shapes(scans, threads)]

    monkeypatch.setattr(PatientScans, "pair_shapes", one_slice_less)

    with pytest.raises(InputError, match="patient P1: has 4 slices where its headers promised 3"):
        prepare_store(sheet, tmp_path / "store")

    assert not list(tmp_path.iterdir())

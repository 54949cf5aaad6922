"""Who reads stdout and stderr may leave at any time, and may never have been there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from small_dicom import write_series

from ldctpipe.errors import ExitCode

LDCTPIPE = [sys.executable, "-m", "ldctpipe.cli.app"]


@pytest.fixture
def broken_pipe():
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("recipes",), ("protocols",), ("--help",), ("--version",)])
def test_a_reader_of_results_may_leave(broken_pipe, arguments, unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        [*LDCTPIPE, *arguments], check=False, stdout=broken_pipe, stderr=subprocess.PIPE, env=environment, text=True
    )

    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")


def test_a_failure_keeps_its_code_without_readers(broken_pipe):
    done = subprocess.run([*LDCTPIPE, "inspect", "nowhere"], check=False, stdout=broken_pipe, stderr=broken_pipe)

    assert done.returncode == ExitCode.INPUT


def test_a_reader_of_messages_may_leave_a_long_run(broken_pipe, tmp_path):
    source = write_series(tmp_path / "in", slices=3)
    (source / "notes.txt").write_text("makes a message")

    done = subprocess.run(
        [*LDCTPIPE, "ingest", str(source), str(tmp_path / "OUT")],
        check=False,
        stdout=subprocess.PIPE,
        stderr=broken_pipe,
        text=True,
    )

    assert done.returncode == ExitCode.DONE
    assert (tmp_path / "OUT" / "ingest.json").is_file()
    assert len(done.stdout.splitlines()) == 1


def test_closed_streams_get_nothing_and_break_nothing(tmp_path):
    source = write_series(tmp_path / "in", slices=3)

    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *LDCTPIPE, "ingest", str(source), str(tmp_path / "OUT")], check=False
    )

    assert done.returncode == ExitCode.DONE
    assert (tmp_path / "OUT" / "ingest.json").is_file()


def test_results_on_a_full_disk_are_no_success(small_disk):
    (small_disk / "filler").write_bytes(bytes(64 * 1024))
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # so that the disk is found full at the last flush
    with (small_disk / "list.txt").open("w") as results:
        done = subprocess.run(
            [*LDCTPIPE, "recipes"], check=False, stdout=results, stderr=subprocess.PIPE, env=environment, text=True
        )

    assert done.returncode == ExitCode.IO
    assert done.stderr.startswith("ldctpipe: standard output: No space left on device; free some space")

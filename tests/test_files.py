"""Outputs: whole or not at all, never over an input, with the rights of the umask, through kills and full disks."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy

from ldctpipe.errors import InputError, StoppedEarly, UsageError
from ldctpipe.files import new_file, new_folder, read_json, refuse_occupied, write_text


def make_output(folder: Path) -> Path:
    """Make `folder` what an earlier run of ldctpipe left, with a file `old`."""
    folder.mkdir(parents=True)
    (folder / "store.json").write_text(json.dumps({"format": "ldctpipe-store@1"}))
    (folder / "old").write_text("old")
    return folder


def test_outputs_appear_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "folder") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    with pytest.raises(RuntimeError), new_file(tmp_path / "file") as file:
        file.write_text("half")
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


def test_overwriting_replaces_the_whole_folder(tmp_path):
    out = make_output(tmp_path / "out")

    with new_folder(out, overwrite=True) as folder:
        (folder / "new").write_text("y")

    assert [file.name for file in out.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [out]


def test_an_output_must_not_be_or_contain_an_input(tmp_path):
    source = make_output(tmp_path / "all" / "in")
    (tmp_path / "link").symlink_to(source)

    for out in (source, tmp_path / "all", tmp_path / "link", tmp_path / "all" / "in" / ".." / "in"):
        with pytest.raises(UsageError, match="would replace the input"):
            refuse_occupied(out, overwrite=True, inputs=[tmp_path / "other", source])

    with new_folder(source / "inside", inputs=[source]) as folder:
        (folder / "new").write_text("y")
    assert {file.name for file in source.iterdir()} == {"store.json", "old", "inside"}


@pytest.mark.parametrize("content", ["[1, 2]", "{}", "not JSON", '{"format": "webpack"}'])
def test_overwriting_refuses_what_others_made(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)

    with pytest.raises(InputError, match="holds files that ldctpipe didn't write"):
        refuse_occupied(tmp_path, overwrite=True)


def test_a_stop_between_the_renames_puts_the_old_folder_back(tmp_path, monkeypatch):
    out = make_output(tmp_path / "out")
    rename = Path.rename

    def stop_when_new(self, target):
        if self.suffix == ".partial":
            raise StoppedEarly("stopped")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stop_when_new)
    with pytest.raises(StoppedEarly), new_folder(out, overwrite=True):
        pass

    assert (out / "old").is_file()
    assert list(tmp_path.iterdir()) == [out]


KILL = "import os, signal; from pathlib import Path; from ldctpipe.files import new_file, new_folder\n"
KILLED_WHILE_WRITING = """
with new_file(Path("file")) as file, new_folder(Path("out")) as folder:
    (folder / "half").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_BETWEEN_RENAMES = """
rename = Path.rename
def kill(self, target):
    if self.suffix == ".partial":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = kill
with new_folder(Path("out"), overwrite=True):
    pass
"""


def killed(folder: Path, code: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILL + code], check=False, cwd=folder)
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_process_left_is_cleared_at_the_next_start(tmp_path):
    killed(tmp_path, KILLED_WHILE_WRITING)
    assert len(list(tmp_path.glob(".*.partial"))) == 2

    write_text(tmp_path / "file", "whole")
    with new_folder(tmp_path / "out"):
        pass

    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "out"]


def test_what_a_killed_process_had_retired_comes_back_at_the_next_start(tmp_path):
    out = make_output(tmp_path / "out")
    killed(tmp_path, KILLED_BETWEEN_RENAMES)
    assert not out.exists()

    with pytest.raises(InputError, match="already holds files"):
        refuse_occupied(out)

    assert (out / "old").is_file()
    assert list(tmp_path.iterdir()) == [out]


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    with new_folder(tmp_path / "out") as folder:
        refuse_occupied(tmp_path / "out")
        assert folder.is_dir()


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_the_umask_decides_who_may_read(tmp_path, mask):
    before = os.umask(mask)
    try:
        with new_folder(tmp_path / "out") as folder:
            write_text(folder / "file", "x")
    finally:
        os.umask(before)

    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~mask
    assert (tmp_path / "out" / "file").stat().st_mode & 0o777 == 0o666 & ~mask


NOISE = np.random.default_rng(0).random((200, 200))  # 320 kB that no compression makes fit


def to_stream(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez_compressed(stream, noise=NOISE)


@pytest.mark.parametrize(
    "write",
    [
        to_stream,
        lambda path: path.write_bytes(NOISE.tobytes()),
        lambda path: np.save(path.with_suffix(".npy"), NOISE),
        lambda path: pd.DataFrame(NOISE).rename(columns=str).to_parquet(path),
        lambda path: safetensors.numpy.save_file({"noise": NOISE}, path),
    ],
    ids=["stream", "bytes", "numpy", "parquet", "safetensors"],
)
def test_a_full_disk_names_the_target_in_every_library(small_disk, write):
    with pytest.raises(OSError) as folder_error, new_folder(small_disk / "out") as folder:
        write(folder / "data")
    with (
        pytest.raises(OSError) as file_error,
        new_folder(small_disk / "out") as folder,
        new_file(folder / "data") as file,
    ):
        write(file)

    for caught in (folder_error, file_error):
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(small_disk / "out")
    assert list(small_disk.iterdir()) == []


def test_a_missing_description_is_named(tmp_path):
    with pytest.raises(InputError, match=r"x\.json: is missing, so this is not a training store; "):
        read_json(tmp_path / "x.json", "a training store")

"""Outputs: whole or not at all, never over an input, with the rights of the umask, through kills and full disks."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from ldctpipe.errors import InputError, StoppedEarly, UsageError
from ldctpipe.files import (
    clear_leftovers,
    new_file,
    new_folder,
    process_mark,
    read_json,
    refuse_existing,
    refuse_occupied,
    write_text,
)
from ldctpipe.merging import LISTING, listed_files


def make_output(folder: Path) -> Path:
    """Make `folder` what an earlier run of ldctpipe left, with a file `old`."""
    with new_folder(folder) as made:
        (made / "store.json").write_text(json.dumps({"format": "ldctpipe-store@1"}))
        (made / "old").write_text("old")
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

    assert sorted(file.name for file in out.iterdir()) == [LISTING, "new"]
    assert list(tmp_path.iterdir()) == [out]


def test_an_output_must_not_be_or_contain_an_input(tmp_path):
    source = make_output(tmp_path / "all" / "in")
    (tmp_path / "link").symlink_to(source)

    for out in (source, tmp_path / "all", tmp_path / "link", tmp_path / "all" / "in" / ".." / "in"):
        with pytest.raises(UsageError, match="holds the input" if out.name == "all" else "would replace the input"):
            refuse_occupied(out, overwrite=True, inputs=[tmp_path / "other", source])

    with new_folder(source / "inside", inputs=[source]) as folder:
        (folder / "new").write_text("y")
    assert {file.name for file in source.iterdir()} == {LISTING, "store.json", "old", "inside"}


@pytest.mark.parametrize("content", ["[1, 2]", "{}", "not JSON", '{"format": "webpack"}'])
def test_overwriting_refuses_what_others_made(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)

    with pytest.raises(InputError, match="holds files that ldctpipe didn't write"):
        refuse_occupied(tmp_path, overwrite=True)


def test_a_stop_while_files_move_leaves_the_whole_new_output(tmp_path, monkeypatch):
    out = make_output(tmp_path / "out")
    rename, calls = Path.replace, []

    def stop_once(self, target):
        calls.append(target)
        if len(calls) == 3:
            raise StoppedEarly("stopped")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", stop_once)
    with pytest.raises(StoppedEarly), new_folder(out, overwrite=True) as folder:
        (folder / "a").write_text("new")
        (folder / "b").write_text("new")

    assert {file.name for file in out.iterdir()} == {LISTING, "a", "b"}
    assert list(tmp_path.iterdir()) == [out]


KILL = "import os, signal; from pathlib import Path; from ldctpipe.files import clear_leftovers, new_file, new_folder\n"
KILLED_WHILE_WRITING = """
with new_file(Path("file")) as file, new_folder(Path("out")) as folder:
    (folder / "half").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_WHILE_MOVING = """
place = Path.replace
def kill(self, target):
    if target.name == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    return place(self, target)
Path.replace = kill
with new_folder(Path("out"), overwrite=True) as folder:
    for name in ("a", "b", "store.json"):
        (folder / name).write_text("new")
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


def test_what_a_killed_process_was_moving_is_moved_at_the_next_start(tmp_path):
    out = make_output(tmp_path / "out")
    (out / "notes.txt").write_text("mine")
    killed(tmp_path, KILLED_WHILE_MOVING)
    assert not (out / "store.json").exists(), "a mixture of two outputs calls itself neither"

    with pytest.raises(InputError, match="already holds files"):
        refuse_occupied(out)

    names = {file.name: file.read_text() for file in out.iterdir() if file.name != LISTING}
    assert names == {"a": "new", "b": "new", "store.json": "new", "notes.txt": "mine"}
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


def test_a_file_is_replaced_only_where_that_was_asked_for_and_it_is_of_the_kind(tmp_path):
    sheet, photo, image = tmp_path / "sheet.csv", tmp_path / "photo.csv", tmp_path / "image.dcm"
    sheet.write_text("Patient,split\n")
    photo.write_bytes(b"\xff\xd8\xff")
    image.write_bytes(bytes(128) + b"DICM")
    (tmp_path / "link.csv").symlink_to(image)
    starts = (b"patient",)

    refuse_existing(tmp_path / "new.csv", starts=starts)
    refuse_existing(sheet, overwrite=True, starts=starts)
    with pytest.raises(InputError, match="name another file or add --overwrite"):
        refuse_existing(sheet, starts=starts)
    with pytest.raises(UsageError, match="is an input of this command"):
        refuse_existing(tmp_path / "link.csv", overwrite=True, inputs=[image], starts=starts)
    for other in (photo, image, tmp_path / "link.csv"):
        with pytest.raises(InputError, match="is not a file that this command wrote"):
            refuse_existing(other, overwrite=True, starts=starts)
    with pytest.raises(InputError, match="not a regular file"):
        refuse_existing(Path(os.devnull), overwrite=True, starts=starts)


def test_devices_and_folders_are_not_replaced_by_files(tmp_path):
    for place in (tmp_path, Path(os.devnull)):
        with pytest.raises(InputError, match="where a file should go"):
            write_text(place, "text")


def test_links_in_a_circle_are_named(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    for write in (lambda: refuse_occupied(tmp_path / "a"), lambda: write_text(tmp_path / "a" / "x", "y")):
        with pytest.raises(OSError, match="symbolic links") as caught:
            write()
        assert str(tmp_path / "a") in str(caught.value)


def test_a_mount_point_is_written_into(small_disk):
    (small_disk / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="already holds files"), new_folder(small_disk):
        pass
    (small_disk / "notes.txt").unlink()

    for content in ("first", "second"):
        with new_folder(small_disk, overwrite=True) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "data").write_text(content)

    assert (small_disk / "sub" / "data").read_text() == "second"
    assert {path.name for path in small_disk.iterdir()} == {LISTING, "sub"}


def test_a_folder_keeps_its_rights_and_needs_none_to_the_one_above(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("giving up rights for a while needs root")
    out = tmp_path / "above" / "out"
    out.mkdir(parents=True)
    out.chmod(0o770)
    os.chown(out, 65534, 65534)
    tmp_path.chmod(0o755)
    for above in tmp_path.parents[:3]:
        above.chmod(above.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        with new_folder(out) as folder:
            (folder / "data").write_text("x")
    finally:
        os.seteuid(0)

    assert (out / "data").read_text() == "x"
    assert out.stat().st_mode & 0o777 == 0o770


@pytest.mark.parametrize("name", ["n" * 250, "ü" * 120])
def test_long_names_leave_room_for_temporary_ones(tmp_path, name):
    write_text(tmp_path / name, "text")
    with new_folder(tmp_path / "sub" / name) as folder:
        (folder / "data").write_text("x")

    assert (tmp_path / name).read_text() == "text"
    assert (tmp_path / "sub" / name / "data").is_file()


NAMES = st.sampled_from(["a", "b", "a/x", "a/y", "a/z/w", "c/x", "store.json", ".hidden", "d.json"])
TREES = st.dictionaries(NAMES, st.sampled_from(["file", "empty folder", "link"]), max_size=6)


def grow(folder: Path, tree: dict[str, str], content: str) -> dict[str, str]:
    """Make what of `tree` has room in `folder`, and return it by name."""
    made = {}
    for name, kind in tree.items():
        place = folder / name
        if os.path.lexists(place) or any(parent.is_symlink() or parent.is_file() for parent in place.parents):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            place.symlink_to("nowhere")
        elif kind == "file":
            place.write_text(f"{content} {name}")
        else:
            place.mkdir()
        made[name] = kind
    return made


def shown(place: Path) -> str:
    return "link" if place.is_symlink() else place.read_text() if place.is_file() else "folder"


@settings(max_examples=40, deadline=None)
@given(old=TREES, foreign=TREES, new=TREES, stop=st.integers(0, 12), again=st.booleans())
def test_what_ldctpipe_did_not_write_is_never_removed(tmp_path_factory, old, foreign, new, stop, again):
    root = tmp_path_factory.mktemp("foreign")
    out = root / "out"
    with new_folder(out) as folder:
        (folder / "first").write_text("old")
        grow(folder, {name: kind for name, kind in old.items() if kind != "link"}, "old")
    theirs = {name: shown(out / name) for name in grow(out, foreign, "foreign")}
    calls = []

    def stopping(function):
        def stop_in_time(self, *arguments, **options):
            calls.append(self)
            if stop <= len(calls) < stop + 1 + again:  # the second time, what mends the first one is hit
                raise StoppedEarly("stopped")
            return function(self, *arguments, **options)

        return stop_in_time

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "rename", "unlink", "rmdir"):
            patch.setattr(Path, name, stopping(getattr(Path, name)))
        with suppress(StoppedEarly), new_folder(out, overwrite=True) as folder:
            grow(folder, new, "new")
    for path in [*root.iterdir(), *out.iterdir()]:  # as if the process were dead
        if path.name.endswith((".partial", ".ready")):
            path.rename(path.with_name(path.name.replace(f"-{os.getpid()}-", f"-{2**22 + 1}-")))
    clear_leftovers(out)

    left = {path: shown(path) for path in out.rglob("*")}
    for name, told in theirs.items():
        kept = [shown for path, shown in left.items() if path == out / name or ".kept" in str(path)]
        assert told in kept or (told == "folder" and (out / name).is_dir())
    if not any(path.name == "first" for path in left):  # the new output has taken the place of the old one
        made = listed_files(out)
        assert all(shown(out / name).startswith("new") for name, kind in new.items() if name in made and kind == "file")
    assert not [path for path in left if path.name.endswith((".partial", ".ready"))]


@pytest.mark.parametrize(
    "note", [{"own": {"../../notes.txt": None}}, {"first": ["/etc/x"]}, {"names": ["a/../../b"]}, []]
)
def test_a_folder_that_claims_to_be_an_unfinished_move_reaches_nothing_outside(tmp_path: Path, note) -> None:
    out = tmp_path / "a" / "out"
    out.mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    ready = out / f".ldctpipe.{process_mark().rpartition('-')[0]}-{2**22 + 1}-0123abcd.ready"
    ready.mkdir()
    whole = {"names": [], "own": {}, "first": [], **note} if isinstance(note, dict) else note
    (ready / ".ldctpipe-move.json").write_text(json.dumps(whole))

    clear_leftovers(out)

    assert (tmp_path / "notes.txt").read_text() == "mine" and ready.is_dir()

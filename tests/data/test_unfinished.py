"""The folder in which a long step goes on: one process at a time, gone when done, kept while it is of use."""

from __future__ import annotations

from pathlib import Path

import pytest

from ldctpipe.data.unfinished import unfinished_folder
from ldctpipe.errors import InputError
from ldctpipe.merging import LISTING


def test_the_result_becomes_the_output_and_the_rest_vanishes(tmp_path: Path) -> None:
    with unfinished_folder(tmp_path / "out") as work:
        (work.result / "data").write_text("x")
        (work.parts / "one").write_text("done")
        assert not (tmp_path / "out").exists()

    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"data", LISTING}


def test_a_failure_keeps_what_is_done_and_nothing_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), unfinished_folder(tmp_path / "out") as work:
        (work.result / "data").write_text("x")
        raise RuntimeError
    assert not list(tmp_path.iterdir())

    with pytest.raises(RuntimeError), unfinished_folder(tmp_path / "out") as work:
        (work.parts / "one").write_text("done")
        raise RuntimeError
    with unfinished_folder(tmp_path / "out") as work:
        assert (work.parts / "one").read_text() == "done"


def test_a_second_process_is_sent_away_and_disturbs_nothing(tmp_path: Path) -> None:
    with unfinished_folder(tmp_path / "out") as work:
        (work.parts / "one").write_text("done")
        (work.result / "data").write_text("x")
        with pytest.raises(InputError, match="another process"), unfinished_folder(tmp_path / "out"):
            pass
        assert (work.parts / "one").is_file()

    with pytest.raises(InputError, match="already holds files"), unfinished_folder(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_lock_that_went_with_its_folder_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process ends between the opening of its lock and the locking of it."""
    from ldctpipe.data import unfinished

    lock_for_real = unfinished._lock

    def lock_after_removal(descriptor: int, target: Path) -> None:
        monkeypatch.setattr(unfinished, "_lock", lock_for_real)
        (tmp_path / ".out.unfinished" / "lock").unlink()
        lock_for_real(descriptor, target)

    monkeypatch.setattr(unfinished, "_lock", lock_after_removal)

    with (
        unfinished_folder(tmp_path / "out"),
        pytest.raises(InputError, match="another process"),
        unfinished_folder(tmp_path / "out"),
    ):
        pass

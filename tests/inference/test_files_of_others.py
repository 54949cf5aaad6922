"""What others put into a folder of results stays, byte for byte, whatever is made anew beside it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from noisy_body import noisy_body
from small_dicom import write_series

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode
from ldctpipe.volumes.nifti import write_nifti


@pytest.fixture(scope="module")
def denoised(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> tuple[Path, Path]:
    """A scan of one series, and the folder of its results."""
    root = tmp_path_factory.mktemp("denoised")
    write_series(root / "scan" / "a", slices=2)
    assert denoise(root / "scan", root / "out", tiny_bundle) == ExitCode.DONE
    return root / "scan", root / "out"


@pytest.fixture
def again(denoised: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Copies of both, with what the user has put beside the results."""
    scan, out = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in denoised)
    add_foreign(out)
    return scan, out


def denoise(scan: Path, out: Path, model: Path, *more: str) -> int:
    return run(["denoise", str(scan), str(out), "--model", str(model), "--device", "cpu", "--threads", "1", *more])


def add_foreign(out: Path) -> None:
    (out / "notes.txt").write_text("notes")
    (out / ".hidden").write_text("hidden")
    (out / "roi").mkdir()
    (out / "roi" / "a.nrrd").write_text("contour")
    (out / "roi" / "to-do").mkdir()
    (out / "link").symlink_to("roi")
    (out / "dangling").symlink_to("nowhere")


def assert_foreign_is_there(out: Path) -> None:
    assert (out / "notes.txt").read_text() == "notes"
    assert (out / ".hidden").read_text() == "hidden"
    assert (out / "roi" / "a.nrrd").read_text() == "contour"
    assert (out / "roi" / "to-do").is_dir()
    assert (out / "link").readlink() == Path("roi")
    assert (out / "dangling").readlink() == Path("nowhere")
    assert not [path for path in out.parent.rglob("*") if path.name.endswith((".partial", ".ready"))]


def lose_a_file(scan: Path, out: Path) -> list[str]:
    min(out.glob("*.dcm")).unlink()
    return []


def get_a_series(scan: Path, out: Path) -> list[str]:
    write_series(scan / "b", slices=2, uid_root="1.2.9", SeriesInstanceUID="1.2.9", SeriesNumber=9)
    return []


def overwrite(scan: Path, out: Path) -> list[str]:
    return ["--overwrite"]


def ask_for_something_else(scan: Path, out: Path) -> list[str]:
    return ["--overwrite", "--blend", "0.5", "--nifti"]


@pytest.mark.parametrize("change", [lose_a_file, get_a_series, overwrite, ask_for_something_else])
def test_a_second_run_keeps_the_files_of_others(
    again: tuple[Path, Path], tiny_bundle: Path, change: Callable[[Path, Path], list[str]]
) -> None:
    options = change(*again)

    assert denoise(*again, tiny_bundle, *options) == ExitCode.DONE

    out = again[1]
    assert_foreign_is_there(out)
    listed = {name for one in json.loads((out / "manifest.json").read_text())["series"] for name in one["files"]}
    assert {path.name for path in out.iterdir() if path.is_file() and path.suffix in (".dcm", ".gz")} == listed


def test_an_edited_result_is_kept_beside_the_repaired_one(again: tuple[Path, Path], tiny_bundle: Path, capsys) -> None:
    out = again[1]
    edited = min(out.glob("*.dcm"))
    before = edited.read_bytes()
    edited.write_bytes(b"edited")

    assert denoise(*again, tiny_bundle) == ExitCode.DONE

    assert edited.stat().st_size == len(before)
    assert edited.with_name(f"{edited.name}.kept").read_bytes() == b"edited"
    assert "is kept as" in capsys.readouterr().err
    assert_foreign_is_there(out)
    edited.write_bytes(b"edited")
    assert denoise(*again, tiny_bundle, "--overwrite") == ExitCode.DONE
    assert len(list(out.glob("*.kept*"))) == 1, "with --overwrite, what is listed is replaced as it is"


@pytest.mark.parametrize("text", ["[]", "{}", "not JSON", '{"format": "other", "series": []}'])
def test_a_manifest_of_another_program_makes_nothing_ours(
    denoised: tuple[Path, Path], tiny_bundle: Path, tmp_path: Path, capsys, text: str
) -> None:
    out = tmp_path / "app"
    out.mkdir()
    (out / "manifest.json").write_text(text)

    for option in ((), ("--overwrite",)):
        assert denoise(denoised[0], out, tiny_bundle, *option) == ExitCode.INPUT
    assert (out / "manifest.json").read_text() == text
    assert "manifest.json" in capsys.readouterr().err


def test_an_output_inside_the_input_works_twice(tiny_bundle: Path, tmp_path: Path, capsys) -> None:
    scan = write_series(tmp_path / "scan", slices=2)
    first = write_series(tmp_path / "elsewhere", slices=2, uid_root="1.2.8", SeriesInstanceUID="1.2.8")

    for round_ in range(2):
        assert denoise(scan, scan / "out", tiny_bundle) == ExitCode.DONE
        assert "0 refused" in capsys.readouterr().out
        assert len(list((scan / "out").glob("*.dcm"))) == 2, round_
    shutil.copytree(first, scan / "new")
    assert denoise(scan, scan / "out", tiny_bundle) == ExitCode.DONE
    assert len(list((scan / "out").glob("*.dcm"))) == 4
    capsys.readouterr()

    assert denoise(scan, tmp_path / "second", tiny_bundle) == ExitCode.DONE, "results of an earlier run are left out"
    assert "left out: 4 files: already denoised by ldctpipe" in capsys.readouterr().out
    for _ in range(2):
        assert run(["ingest", str(scan), str(scan / "cases"), "--overwrite", "-q"]) == ExitCode.DONE


def test_a_link_in_a_circle_is_one_sentence(
    denoised: tuple[Path, Path], tiny_bundle: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "out")

    assert denoise(denoised[0], tmp_path / "out", tiny_bundle) == ExitCode.IO

    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith(f"ldctpipe: {tmp_path / 'out'}: {os.strerror(40)}")


def test_a_nifti_result_that_was_edited_or_is_somebody_elses_is_kept(tiny_bundle: Path, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    hu = noisy_body(slices=2, side=64, seed=0)[0]
    write_nifti(scans / "a.nii.gz", hu, np.diag([-0.7, -0.7, 3.0, 1.0]))
    out.mkdir()
    (out / "a.nii.gz").write_bytes(b"a segmentation")

    assert denoise(scans, out, tiny_bundle) != ExitCode.DONE
    assert (out / "a.nii.gz").read_bytes() == b"a segmentation"
    assert denoise(scans, out, tiny_bundle, "--overwrite") == ExitCode.DONE
    assert (out / "a.nii.gz.kept").read_bytes() == b"a segmentation"
    (out / "a.nii.gz").write_bytes(b"edited")
    assert denoise(scans, out, tiny_bundle) == ExitCode.DONE
    assert (out / "a.nii.gz.kept-2").read_bytes() == b"edited"
    assert denoise(scans, out, tiny_bundle, "--overwrite") == ExitCode.DONE
    assert len(list(out.iterdir())) == 4

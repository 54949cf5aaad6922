"""`ldctpipe verify`: what was altered, lost or added since it was written is named, a line each."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ldctpipe.cli.app import run as run_command
from ldctpipe.dicom.discovery import files_below
from ldctpipe.errors import InputError
from ldctpipe.files import sha256_of_file, write_json
from ldctpipe.record.checksums import checksums_of, summary_of_scan, write_checksums
from ldctpipe.record.verification import verify


@pytest.fixture
def results(tmp_path: Path, tiny_bundle: Path) -> Path:
    """An output folder with a bundle, a denoised patient and a table, all in checksums.json."""
    run = tmp_path / "results"
    shutil.copytree(tiny_bundle, run / "model")
    patient = run / "denoised" / "L003"
    patient.mkdir(parents=True)
    (patient / "a-0001.dcm").write_bytes(b"image")
    write_json(
        patient / "manifest.json", {"series": [{"files": {"a-0001.dcm": sha256_of_file(patient / "a-0001.dcm")}}]}
    )
    (run / "metrics").mkdir()
    (run / "metrics" / "table.txt").write_text("PSNR 33.2\n")
    write_checksums(run, checksums_of(run))
    return run


def test_untouched_folder_has_no_faults(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["verify", str(results)]) == 0
    count = len([path for path in results.rglob("*") if path.is_file()]) - 1  # all but the list itself
    assert f"{count} files are as they were written" in capsys.readouterr().out


def test_each_altered_missing_and_extra_file_is_a_line_and_the_end_is_65(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "metrics" / "table.txt").write_text("PSNR 43.2\n")
    (results / "denoised" / "L003" / "a-0001.dcm").unlink()
    (results / "denoised" / "L003" / "new.dcm").write_bytes(b"another")

    assert run_command(["verify", str(results), "--quiet"]) == 65

    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "missing: denoised/L003/a-0001.dcm",
        "extra: denoised/L003/new.dcm",
        "altered: metrics/table.txt",
    ]
    assert "3 files are not as they were written" in said.err


def test_one_flipped_bit_anywhere_is_found(results: Path) -> None:
    weights = results / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    assert verify(results).lines() == ["altered: model/model.safetensors"]


def test_a_card_that_was_rewritten_with_its_checksum_list_still_betrays_other_weights(results: Path) -> None:
    (results / "model" / "model.safetensors").write_bytes(b"other weights")
    write_checksums(results, checksums_of(results))

    assert verify(results).lines() == ["altered: model/model.safetensors"]


def test_bundle_and_denoised_folder_verify_alone(results: Path) -> None:
    assert verify(results / "model").compared == {"model.safetensors", "recipe.yaml"}
    (results / "denoised" / "L003" / "a-0001.dcm").write_bytes(b"altered")
    assert verify(results / "denoised").lines() == ["altered: L003/a-0001.dcm"]


def test_a_pixel_of_a_training_store_that_changed_is_found(tiny_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    assert not verify(store).faults

    pairs = np.load(store / "pairs.npy", mmap_mode="r+")
    pairs[5, 1, 64, 64] += 1
    pairs.flush()

    assert verify(store).lines() == ["altered: pairs.npy"]


def test_folder_without_checksums_and_damaged_lists_are_refused_in_one_sentence(results: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(InputError, match="holds no checksums to compare with"):
        verify(tmp_path / "plain")
    (results / "checksums.json").write_text("[]")
    with pytest.raises(InputError, match="is not a list of format"):
        verify(results)
    (results / "checksums.json").unlink()
    (results / "model" / "card.json").write_text("{")
    assert verify(results).lines() == ["unreadable: model/card.json"]


def test_folders_nested_beyond_any_use_end_in_one_sentence(tmp_path: Path) -> None:
    """Recursion and the length of paths both have an end."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "loop").symlink_to("loop")
    within = os.open(tmp_path / "run", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=within)
        within, above = os.open("d", os.O_RDONLY, dir_fd=within), within
        os.close(above)
    os.close(within)

    for read in (checksums_of, summary_of_scan):
        with pytest.raises(OSError, match="levels deep") as error:
            read(tmp_path / "run")
        assert error.value.errno == errno.ENAMETOOLONG
    found = []
    assert list(files_below(tmp_path / "run", found.append)) == [tmp_path / "run" / "loop"]
    assert len(found) == 1
    subprocess.run(["rm", "-r", tmp_path / "run"], check=True)  # pytest's own removal recurses

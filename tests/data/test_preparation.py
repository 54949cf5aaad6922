"""What `prepare` puts into a store: who validates, the noise it reports, what it needs of memory and of the disk."""

from __future__ import annotations

import errno
import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from noisy_body import noisy_body

from ldctpipe.data.preparation import prepare_store
from ldctpipe.data.store import open_store
from ldctpipe.errors import UsageError
from ldctpipe.volumes.case import read_case, write_case
from ldctpipe.volumes.volume import Volume


def cohort(root: Path, splits: Sequence[str], slices: int = 4, sides: Sequence[int] = (64,)) -> Path:
    """Cases of the patients P1, P2, … under `root`, a side for each in turn; return the sheet."""
    lines = ["patient,low_dose,full_dose,split"]
    for seed, split in enumerate(splits):
        patient, side = f"P{seed + 1}", sides[seed % len(sides)]
        for role, hu in zip(("low_dose", "full_dose"), noisy_body(slices, side, seed), strict=True):
            folder = root / patient / role / f"{patient}{role}"
            folder.mkdir(parents=True)
            positions_mm = np.arange(slices) * 3.0
            write_case(folder, Volume(hu, np.diag([-0.7, -0.7, 3.0, 1.0]), positions_mm, key=folder.name))
        lines.append(f"{patient},{patient}/low_dose,{patient}/full_dose,{split}")
    (root / "sheet.csv").write_text("\n".join(lines) + "\n")
    return root / "sheet.csv"


def validation_of(store: Path) -> tuple[str, list[str]]:
    recorded = json.loads((store / "store.json").read_text())["validation"]
    return recorded["chosen"], recorded["patients"]


def test_the_last_of_three_training_patients_validates_as_a_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = cohort(tmp_path, ("train", "", "train", "test"), slices=24)

    prepare_store(sheet, tmp_path / "store")

    store = open_store(tmp_path / "store")
    assert store.patients("validation") == ["P3"]
    assert store.patients("train") == ["P1", "P2"]
    assert len(store.rows_of("validation")) == 24
    assert validation_of(tmp_path / "store") == ("automatically", ["P3"])
    assert "validation: patient P3" in capsys.readouterr().err


def test_slices_that_only_one_dose_has_are_not_in_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """P1 lacks low-dose slices in the middle and at an end; one slice of P2 shows nothing but air and noise."""
    sheet = cohort(tmp_path, ("train", "train"), slices=7)
    cut(next((tmp_path / "P1/low_dose").iterdir()), [0, 1, 3, 4, 5])
    for seed, role in enumerate(("low_dose", "full_dose")):
        with_air(next((tmp_path / "P2" / role).iterdir()), 6, seed)

    prepare_store(sheet, tmp_path / "store", threads=1)

    table = open_store(tmp_path / "store").slices
    assert table.loc[table["patient"] == "P1", "position_mm"].tolist() == [0.0, 3.0, 9.0, 12.0, 15.0]
    assert table.loc[table["patient"] == "P2", "position_mm"].tolist() == [3.0 * place for place in range(7)]
    assert table.loc[11, "origins"] == 0
    assert "2 slice(s) have no low-dose partner and are left out" in capsys.readouterr().err


def cut(case: Path, kept: Sequence[int]) -> None:
    """Write the case anew with the slices `kept` alone."""
    whole = read_case(case)
    write_case(case, replace(whole, hu=whole.hu[list(kept)].copy(), positions_mm=whole.positions_mm[list(kept)]))


def with_air(case: Path, index: int, seed: int) -> None:
    whole = read_case(case)
    hu = whole.hu.copy()
    hu[index] = np.random.default_rng(seed).normal(-1000, 30, hu[index].shape)
    write_case(case, replace(whole, hu=hu))


def test_a_named_patient_validates_alone(tmp_path: Path) -> None:
    prepare_store(cohort(tmp_path, ("train", "validation", "train", "train"), slices=20), tmp_path / "store")

    assert open_store(tmp_path / "store").patients("train") == ["P1", "P3", "P4"]
    assert validation_of(tmp_path / "store") == ("named", ["P2"])


def test_with_two_patients_the_ends_of_long_scans_validate_and_a_warning_says_what_that_is_worth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_store(cohort(tmp_path, ("train", "train"), slices=40), tmp_path / "store")

    table = open_store(tmp_path / "store").slices
    validating = table[table["split"] == "validation"]
    assert validating["position_mm"].tolist() == [38 * 3.0, 39 * 3.0] * 2
    assert validation_of(tmp_path / "store") == ("slices", ["P1", "P2"])
    assert capsys.readouterr().err.count("not independent") == 2


def test_two_short_scans_spare_nothing(tiny_store: Path) -> None:
    assert validation_of(tiny_store) == ("none", [])
    assert open_store(tiny_store).slices["split"].eq("train").all()


def test_the_noise_is_that_of_the_body(tmp_path: Path) -> None:
    sheet = cohort(tmp_path, ("train", "train"))

    description = prepare_store(sheet, tmp_path / "store")

    low, full = np.moveaxis(open_store(tmp_path / "store").pairs.astype(np.float64), 1, 0)
    added = (low - full)[full > -500]
    assert description["mean_added_hu"] == pytest.approx(added.mean(), abs=1e-3)
    assert description["sd_added_hu"] == pytest.approx(added.std(), abs=1e-3)
    assert description["sd_added_hu"] == pytest.approx(25, abs=1)  # what the fixture adds


def test_smaller_slices_lie_in_air(tmp_path: Path) -> None:
    prepare_store(cohort(tmp_path, ("train", "train"), sides=(64, 96)), tmp_path / "store")

    store = open_store(tmp_path / "store")
    assert store.pairs.shape == (8, 2, 96, 96)
    assert (store.pairs[:4, :, 64:] == -1000).all()
    assert (store.pairs[:4, :, :, 64:] == -1000).all()
    assert store.slices["rows"].tolist() == [64] * 4 + [96] * 4


def test_cases_stand_in_for_scans_that_are_not_here(tmp_path: Path) -> None:
    cohort(tmp_path / "cases", ("train", "train"))
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("patient,low_dose,full_dose,split\nP1,/gone/a,/gone/b,train\nP2,/gone/c,/gone/d,train\n")

    prepare_store(sheet, tmp_path / "store", cases=tmp_path / "cases")

    assert open_store(tmp_path / "store").patients("train") == ["P1", "P2"]


def test_memory_stays_at_a_few_slices(tmp_path: Path) -> None:
    sheet = cohort(tmp_path, ("train", "train"), slices=60, sides=(256,))
    stored_bytes = 2 * 60 * 2 * 256 * 256 * 2

    tracemalloc.start()
    try:
        prepare_store(sheet, tmp_path / "store")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (tmp_path / "store" / "pairs.npy").stat().st_size > stored_bytes
    assert peak_bytes < stored_bytes / 4


def test_a_store_never_replaces_the_folder_of_its_own_scans(tmp_path: Path) -> None:
    sheet = cohort(tmp_path / "scans", ("train", "train"))

    with pytest.raises(UsageError, match="holds the input"):
        prepare_store(sheet, tmp_path / "scans", overwrite=True)

    assert sheet.is_file()


@pytest.mark.parametrize("small_disk", ["1m"], indirect=True)
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "scans").mkdir()
    sheet = cohort(tmp_path / "scans", ("train", "train"), slices=8, sides=(256,))

    with pytest.raises(OSError) as failure:
        prepare_store(sheet, small_disk / "store")

    assert failure.value.errno == errno.ENOSPC
    assert list(small_disk.iterdir()) == []

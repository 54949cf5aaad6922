"""By what a person knows a series again in manifests: number, description and a file, unless it is de-identified."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from small_bundle import write_small_bundle
from small_dicom import write_series

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode


@pytest.fixture(scope="module")
def quick_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "model", "red_cnn.RedCnn", channels=2)


def ldctpipe(*arguments: str | Path) -> int:
    return run([*(str(argument) for argument in arguments), "--quiet"])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scans") / "cohort"
    write_series(root / "P1" / "first", slices=2, SeriesNumber=3, SeriesDescription="Abdomen B30f")
    uid, own = "1.2.3.4", {"SeriesNumber": 4, "SeriesDescription": "Thorax", "RescaleIntercept": 0}
    write_series(root / "P1" / "second", slices=2, uid_root=uid, SeriesInstanceUID=uid, **own)
    return root


def test_manifests_name_each_series(quick_bundle: Path, cohort: Path, tmp_path: Path, capfd) -> None:
    ldctpipe("cohort", "denoise", cohort, tmp_path, "--model", quick_bundle)
    ldctpipe("cohort", "manifest", tmp_path, tmp_path)

    said = capfd.readouterr().out
    told = json.loads((tmp_path / "denoised" / "P1" / "manifest.json").read_text())["series"]
    with (tmp_path / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for series in (*told, *rows):
        number = int(series["number"])
        assert series["description"] == {3: "Abdomen B30f", 4: "Thorax"}[number]
        assert series["file"] in {f"{'first' if number == 3 else 'second'}/IM00{slice_}" for slice_ in (1, 2)}
    assert len(told) == len(rows) == 2
    assert "number 4, Thorax, second/IM00" in said, "the one that is refused"


def test_nothing_of_it_is_told_without_identity(quick_bundle: Path, cohort: Path, tmp_path: Path, capfd) -> None:
    (tmp_path / "key").write_text("k" * 64)
    remove = ("--deidentify", "--deidentification-key", tmp_path / "key")

    assert ldctpipe("denoise", cohort / "P1", tmp_path / "out", "--model", quick_bundle, *remove) == ExitCode.INPUT

    written = (tmp_path / "out" / "manifest.json").read_text() + "".join(capfd.readouterr().out)
    assert not [word for word in ("Abdomen", "Thorax", "first/", "second/", "IM00") if word in written]

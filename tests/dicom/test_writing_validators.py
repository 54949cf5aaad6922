"""Derived series of all real scans beside their sources: two validators and a second library's geometry."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from derivations import derivation

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series
from ldctpipe.dicom.writing import write_derived_series

CHECKED_SLICES = 2


@pytest.fixture(scope="module")
def derived(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Series, list[Path]]]:
    """Each real series with the files of one that was derived from it."""
    out = tmp_path_factory.mktemp("derived")
    pairs = []
    for series in discover(real_data).series:
        (out / series.key).mkdir()
        pairs.append((series, write_derived_series(series, read_volume(series).hu + 1, out / series.key, derivation())))
    return pairs


def complaints(*command: str | Path) -> set[str]:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed (Debian package dicom3tools)")
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    return {line for line in (finished.stderr + finished.stdout).splitlines() if line.startswith("Error")}


def test_dciodvfy_finds_no_new_error_in_any_series(derived: list[tuple[Series, list[Path]]]) -> None:
    assert len(derived) >= 8
    for series, paths in derived:
        for path, source in list(zip(paths, series.slices, strict=True))[:CHECKED_SLICES]:
            assert complaints("dciodvfy", path) <= complaints("dciodvfy", source.path)


def test_dcentvfy_finds_source_and_derived_series_consistent(derived: list[tuple[Series, list[Path]]]) -> None:
    for series, paths in derived:
        sources = [place.path for place in series.slices]

        assert complaints("dcentvfy", *sources, *paths) <= complaints("dcentvfy", *sources)


def test_simpleitk_sees_the_same_geometry(derived: list[tuple[Series, list[Path]]]) -> None:
    for series, paths in derived:
        for path, source in list(zip(paths, series.slices, strict=True))[:CHECKED_SLICES]:
            new, old = (SimpleITK.ReadImage(str(file)) for file in (path, source.path))
            assert new.GetOrigin() == old.GetOrigin()
            assert new.GetDirection() == old.GetDirection()
            assert new.GetSpacing() == old.GetSpacing()


def test_simpleitk_sees_hu_that_are_one_higher_where_something_was_measured(
    derived: list[tuple[Series, list[Path]]],
) -> None:
    for series, paths in derived:
        new, old = (
            SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file))).astype(np.float64)
            for file in (paths[0], series.slices[0].path)
        )
        assert set(np.unique(new - old)) <= {0.0, 1.0}
        assert (new - old).mean() > 0.5

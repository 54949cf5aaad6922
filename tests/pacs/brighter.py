"""A derived series without a model: its source, brighter."""

from __future__ import annotations

from pathlib import Path

from derivations import derivation

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.writing import write_derived_series


def derive(source: Path, folder: Path, change_hu: int = 5) -> list[Path]:
    """Write the one series of `source` into the new `folder`, brighter by `change_hu`, and return its files."""
    (series,) = discover(source).series
    folder.mkdir()
    hu = read_volume(series).hu + change_hu
    return write_derived_series(series, hu, folder, derivation(settings=f"change {change_hu}"))

"""A derived series without a model: its source, brighter."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from ldctpipe.dicom.derivation import Derivation
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.writing import write_derived_series


def derive(source: Path, folder: Path, change_hu: int = 5) -> list[Path]:
    """Write the one series of `source` into the new `folder`, brighter by `change_hu`, and return its files."""
    (series,) = discover(source).series
    folder.mkdir()
    derivation = Derivation(
        description="Brightened for a test",
        code_value="NOISERED",
        code_meaning="Noise reduction",
        series_suffix="ldctpipe test",
        equipment_model="ldctpipe test",
        software_version="0",
        weights_sha256="0" * 64,
        settings=f"change {change_hu}",
        run_time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    )
    return write_derived_series(series, read_volume(series).hu + change_hu, folder, derivation)

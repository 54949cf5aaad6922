"""Where every file of a folder went, and the checks that hold for each of them whatever is in it."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from small_dicom import PATIENT_ID, PATIENT_NAME

from ldctpipe.data.pairing import pair_volumes
from ldctpipe.dicom.discovery import Discovery, discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import InputError
from ldctpipe.volumes.volume import Volume

DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")


@dataclass(frozen=True)
class Accounting:
    """What became of a folder: files in series, files skipped with their reasons, files passed over, what was read."""

    used: frozenset[Path]
    skipped: dict[Path, str]
    passed_over: frozenset[Path]
    volumes: tuple[Volume, ...]
    refused: dict[str, str]


def read_everything(folder: Path) -> Accounting:
    """Discover, read and pair all that is in `folder`, which holds at least one sound series; return where all went.

    Fails where a file is lost or counted twice, a reason is no sentence or tells who the patient is, HU or geometry are
    no numbers, a volume finds no partner in itself, or anything but `InputError` is raised.
    """
    discovery = discover(folder, threads=2)
    used, skipped, passed_over = _places(folder, discovery)
    volumes: list[Volume] = []
    refused: dict[str, str] = {}
    for series in discovery.series:
        try:
            volumes.append(read_volume(series, threads=2))
        except InputError as refusal:
            refused[series.key] = _checked(str(refusal))
        else:
            _check_volume(volumes[-1], (len(series.slices), series.rows, series.columns))
    return Accounting(used, skipped, passed_over, tuple(volumes), refused)


def _places(folder: Path, discovery: Discovery) -> tuple[frozenset[Path], dict[Path, str], frozenset[Path]]:
    files = {Path(parent, name) for parent, _, names in os.walk(folder) for name in names}
    used = [image.path for series in discovery.series for image in series.slices]
    named = [*used, *(skip.path for skip in discovery.skipped)]
    assert len(named) == len(set(named)), "a file is in two places"
    assert set(named) <= files
    passed_over = files - set(named)
    for path in passed_over:
        assert path.suffix.lower() not in DICOM_SUFFIXES, f"{path.name} was lost silently"
        assert path.read_bytes()[128:132] != b"DICM", f"{path.name} was lost silently"
    return frozenset(used), {skip.path: _checked(skip.reason) for skip in discovery.skipped}, frozenset(passed_over)


def _checked(sentence: str) -> str:
    assert sentence
    assert sentence.isprintable(), sentence
    assert len(sentence) < 1000
    assert not any(identifier in sentence for identifier in (PATIENT_ID, PATIENT_NAME)), sentence
    return sentence


def _check_volume(volume: Volume, shape: tuple[int, int, int]) -> None:
    assert volume.hu.shape == shape
    assert np.isfinite(volume.hu).all()
    assert np.isfinite(volume.affine).all()
    assert (np.diff(volume.positions_mm) > 0).all()
    assert min(volume.spacing_mm) > 0
    assert all(warning.isprintable() for warning in volume.warnings)
    with contextlib.redirect_stderr(io.StringIO()):  # pairing says, rightly, that these are the same images
        (pair,) = pair_volumes([volume], [volume])
    assert pair.low_index.tolist() == pair.full_index.tolist() == list(range(shape[0]))

"""The ingested case: a folder with `volume.nii` (HU) and `case.json` (geometry, acquisition, provenance)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from ldctpipe import __version__
from ldctpipe.errors import InputError
from ldctpipe.files import read_json, write_json
from ldctpipe.volumes.nifti import DAMAGED_NIFTI, write_nifti
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.volume import Acquisition, Volume

FORMAT = "ldctpipe-case@1"
_VOLUME, _PADDING, _DESCRIPTION = "volume.nii", "padding.nii.gz", "case.json"
_REMEDY = "ingest the series again"
_READ_KEYS: dict[str, type | tuple[type, ...]] = {
    "shape": list,
    "positions_mm": list,
    "padded_pixels": int,
    "acquisition": dict,
    "key": str,
    "frame_of_reference": (str, type(None)),
    "warnings": list,
    "provenance": dict,
}


def is_case(folder: Path) -> bool:
    """Tell whether `folder` is an ingested case."""
    return (folder / _DESCRIPTION).is_file()


def write_case(folder: Path, volume: Volume, **extra: Any) -> None:
    """Write `volume` into the existing `folder`; `extra` (what was skipped and why, …) goes into `case.json`."""
    write_nifti(folder / _VOLUME, volume.hu, volume.affine)
    if volume.padding is not None:
        write_nifti(folder / _PADDING, volume.padding, volume.affine)
    description = {
        "format": FORMAT,
        "ldctpipe": __version__,
        "key": volume.key,
        "shape": list(volume.hu.shape),
        "spacing_mm": list(volume.spacing_mm),
        "positions_mm": [round(float(p), 6) for p in volume.positions_mm],
        "frame_of_reference": volume.frame_of_reference,
        "acquisition": asdict(volume.acquisition),
        "padded_pixels": 0 if volume.padding is None else volume.padding.count(),
        "warnings": list(volume.warnings),
        "provenance": volume.provenance,
        **extra,
    }
    write_json(folder / _DESCRIPTION, description)


def read_case(folder: Path) -> Volume:
    """Return the case in `folder`; its HU are memory-mapped where the file is not compressed.

    Raises `InputError` when a file is missing or damaged, or when the description and the volume don't fit together.
    """
    description = _read_description(folder / _DESCRIPTION)
    try:
        image = nibabel.load(folder / _VOLUME)
        hu = np.asanyarray(image.dataobj).transpose(2, 1, 0)  # type: ignore[attr-defined]
        padding = _read_padding(folder) if description["padded_pixels"] else None
    except DAMAGED_NIFTI as error:
        raise InputError(folder / _VOLUME, f"can't be read ({error})", _REMEDY) from None
    if list(hu.shape) != description["shape"]:
        fault = f"has shape {list(hu.shape)} where {_DESCRIPTION} says {description['shape']}"
        raise InputError(folder / _VOLUME, fault, _REMEDY)
    try:
        return Volume(
            hu,
            np.asarray(image.affine, dtype=np.float64),  # type: ignore[attr-defined]
            np.asarray(description["positions_mm"], dtype=np.float64),
            padding,
            _acquisition(description["acquisition"]),
            description["key"],
            description["frame_of_reference"],
            tuple(description["warnings"]),
            description["provenance"],
            (folder,),
        )
    except (TypeError, ValueError) as error:
        raise InputError(folder / _DESCRIPTION, f"does not describe its volume ({error})", _REMEDY) from None


def _read_description(path: Path) -> dict[str, Any]:
    description = read_json(path, "a case description")
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise InputError(path, f"is not of format {FORMAT}", _REMEDY)
    missing = [name for name in _READ_KEYS if name not in description]
    if missing:
        raise InputError(path, f"has no {', '.join(missing)}", _REMEDY)
    wrong = [name for name, kind in _READ_KEYS.items() if not isinstance(description[name], kind)]
    if wrong:
        raise InputError(path, f"has a wrong type of value for {', '.join(wrong)}", _REMEDY)
    return description


def _read_padding(folder: Path) -> Padding:
    """The padding of a case, slice by slice: at a byte a pixel, it would take half of what its HU take."""
    stored = nibabel.load(folder / _PADDING, keep_file_open=True).dataobj  # type: ignore[attr-defined,call-arg]
    columns, rows, slices = stored.shape
    padding = Padding.none((slices, rows, columns))
    for index in range(slices):
        padding.mark(index, np.asanyarray(stored[..., index]).T)
    return padding


def _acquisition(fields: dict[str, Any]) -> Acquisition:
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return Acquisition(**values)

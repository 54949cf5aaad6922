"""The ingested case: a folder with `volume.nii` (HU) and `case.json` (geometry, acquisition, provenance)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from pydantic import TypeAdapter

from ldctpipe import __version__
from ldctpipe.errors import InputError
from ldctpipe.files import read_object, safe_name, write_json
from ldctpipe.foreign import require_file
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
        image = _image(folder / _VOLUME, description["shape"])
        hu = np.asanyarray(image.dataobj).transpose(2, 1, 0)  # type: ignore[attr-defined]
        padding = _read_padding(folder, description["shape"]) if description["padded_pixels"] else None
    except DAMAGED_NIFTI as error:
        raise InputError(folder / _VOLUME, f"can't be read ({error})", _REMEDY) from None
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
    description = read_object(path, "a case description")
    if description.get("format") != FORMAT:
        raise InputError(path, f"is not of format {FORMAT}", _REMEDY)
    missing = [name for name in _READ_KEYS if name not in description]
    if missing:
        raise InputError(path, f"has no {', '.join(missing)}", _REMEDY)
    wrong = [name for name, kind in _READ_KEYS.items() if not isinstance(description[name], kind)]
    if wrong:
        raise InputError(path, f"has a wrong type of value for {', '.join(wrong)}", _REMEDY)
    if description["key"] != safe_name(description["key"]):  # it becomes the name of a folder
        raise InputError(path, "has a key that can't be the name of a folder", _REMEDY)
    if not all(isinstance(text, str) for text in description["warnings"]):
        raise InputError(path, "has a wrong type of value for warnings", _REMEDY)
    if not all(type(number) in (int, float) for number in description["positions_mm"]):
        raise InputError(path, "has a wrong type of value for positions_mm", _REMEDY)
    return description


def _read_padding(folder: Path, shape: list[int]) -> Padding:
    """The padding of a case, slice by slice: at a byte a pixel, it would take half of what its HU take."""
    stored = _image(folder / _PADDING, shape, keep_file_open=True).dataobj
    padding = Padding.none((shape[0], shape[1], shape[2]))
    for index in range(shape[0]):
        padding.mark(index, np.asanyarray(stored[..., index]).T)
    return padding


def _image(path: Path, shape: list[int], *, keep_file_open: bool = False) -> Any:
    """Return a NIfTI image of (slices, rows, columns); its size is compared before a compressed one is unpacked."""
    image: Any = nibabel.load(require_file(path), keep_file_open=keep_file_open)  # type: ignore[call-arg]
    found = list(image.shape[::-1])
    if found != shape:
        fault = f"has shape {found} where {_DESCRIPTION} says {shape}"
        raise InputError(path, fault, _REMEDY)
    if not np.isfinite(image.affine).all():
        raise ValueError("its affine holds values that are no numbers")
    return image


def _acquisition(fields: dict[str, Any]) -> Acquisition:
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    # The same values again, but a ValueError for one of another type.
    return TypeAdapter(Acquisition).validate_python(Acquisition(**values).__dict__)

"""The training store: all slice pairs of a cohort as int16 HU in one memory-mapped array, and their table.

`pairs.npy` has shape (slices, 2, rows, columns), low dose first; `slices.parquet` has a row a slice; `origins.npy`
holds the (row, column) of every patch-sized window that touches the body, slice after slice; `store.json` says what it
is, and has the SHA-256 of each patient's rows of each array. A store for a range of doses has `noise.npy` too: noise
images of unit weight for `data.dose_weights`, int16 in `NOISE_UNIT_HU`, of shape (slices, realisations, 2, rows,
columns).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ldctpipe.data.origins import body_origins
from ldctpipe.data.padding_text import of_text
from ldctpipe.data.stored_array import read_array, read_table
from ldctpipe.errors import InputError
from ldctpipe.files import read_object, require_exists
from ldctpipe.volumes.neighbors import unbroken_stacks

FORMAT = "ldctpipe-store@1"
PAIRS, SLICES, ORIGINS, DESCRIPTION = "pairs.npy", "slices.parquet", "origins.npy", "store.json"
NOISE, NOISE_UNIT_HU = "noise.npy", 1 / 32
_AGAIN = "run `ldctpipe prepare` again"
_DESCRIBED: dict[str, type] = {"patch_size": int, "sha256": str}
_COLUMNS = {
    "patient": "U", "series": "U", "split": "U", "position_mm": "f", "rows": "iu", "columns": "iu",
    "first_origin": "iu", "origins": "iu",
}  # fmt: skip
_LATER_COLUMNS = {"pixel_mm": "f", "thickness_mm": "f", "padding": "U"}  # which older stores lack
LOW_DOSE, FULL_DOSE = 0, 1  # along the second axis of the pairs


@dataclass(frozen=True)
class TrainingStore:
    """An opened store.

    `slices` has the columns patient, series, position_mm, split, rows, columns, first_origin and origins (a count), and
    in newer stores pixel_mm, thickness_mm (NaN where it is unknown) and padding (see `data.padding_text`).
    `noise` is None where the pairs' own low dose is what is trained on.
    """

    folder: Path
    pairs: npt.NDArray[np.int16]
    slices: pd.DataFrame
    origins: npt.NDArray[np.int16]
    description: dict[str, Any]
    noise: npt.NDArray[np.int16] | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 that stands for the stored pixels and their order."""
        return str(self.description["sha256"])

    def with_patches_of(self, patch_size: int) -> TrainingStore:
        """Return the store with the origins of patches of another size, found anew in the full-dose slices.

        Raises `InputError` where no slice is as large.
        """
        if patch_size == self.description["patch_size"]:
            return self
        sizes = self.slices[["rows", "columns"]].to_numpy()
        images = zip(self.pairs[:, FULL_DOSE], sizes, strict=True)
        origins = [body_origins(image[:rows, :columns], patch_size) for image, (rows, columns) in images]
        counts = np.array([len(each) for each in origins])
        if not counts.any():
            fault = f"has no slice in which a patch of {patch_size} pixels touches a body"
            raise InputError(self.folder, fault, "set a smaller data.patch_size")
        slices = self.slices.assign(first_origin=np.cumsum(counts) - counts, origins=counts)
        description = {**self.description, "patch_size": patch_size}
        return replace(self, slices=slices, origins=np.concatenate(origins), description=description)

    def rows_of(self, split: str) -> npt.NDArray[np.int64]:
        """Return the indices of the slices of "train" or "validation", ascending."""
        return np.flatnonzero(self.slices["split"].to_numpy() == split)

    @property
    def stacks(self) -> list[range]:
        """The runs of rows that are neighboring slices of one series; together they hold every row once, in order."""
        return stacks_of(self.slices)

    def padding_of(self, row: int) -> npt.NDArray[np.bool_] | None:
        """Return where a slice (rows, columns) holds air instead of a measurement in either dose; None for nowhere.

        Raises `InputError` where the table says it in another way than `ldctpipe prepare`.
        """
        if "padding" not in self.slices:
            return None
        of_slice = self.slices.loc[row].to_dict()
        try:
            return of_text(of_slice["padding"], int(of_slice["rows"]), int(of_slice["columns"]))
        except ValueError as error:
            raise InputError(self.folder / SLICES, f"row {row}: {error}", _AGAIN) from None

    def patients(self, split: str) -> list[str]:
        """Return the patients that have slices in a split, sorted."""
        return sorted(self.slices.loc[self.slices["split"] == split, "patient"].unique())


def open_store(folder: Path) -> TrainingStore:
    """Return the store in `folder`, its pixels memory-mapped; raises `InputError` when it is none or not whole."""
    require_exists(folder)
    description = read_object(folder / DESCRIPTION, "a training store")
    if description.get("format") != FORMAT:
        raise InputError(folder / DESCRIPTION, f"is not of format {FORMAT}", _AGAIN)
    for name, kind in _DESCRIBED.items():
        if not isinstance(description.get(name), kind) or isinstance(description[name], bool):
            raise InputError(folder / DESCRIPTION, f"has no {name}, or one of another type", _AGAIN)
    try:
        pairs = read_array(folder / PAIRS, (None, 2, None, None))
        slices = read_table(folder / SLICES, _COLUMNS, _LATER_COLUMNS)
        origins = np.array(read_array(folder / ORIGINS, (None, 2)))
        noise = read_array(folder / NOISE, (None, None, 2, None, None)) if description.get("simulated") else None
    except (OSError, ValueError) as error:
        raise InputError(folder, f"is not a whole training store ({error})", _AGAIN) from None
    if (
        len(pairs) != len(slices)
        or (noise is not None and len(noise) != len(slices))
        or int(slices["origins"].sum()) != len(origins)
    ):
        raise InputError(folder, "holds tables of different lengths", _AGAIN)
    if not _fits(pairs, slices, origins, description["patch_size"]):
        raise InputError(folder, "lists patches or slices outside its images", _AGAIN)
    return TrainingStore(folder, pairs, slices, origins, description, noise)


def stacks_of(slices: pd.DataFrame) -> list[range]:
    """Return the runs of rows that are neighbors of each other, by the columns patient, series and position_mm."""
    series = slices.groupby(["patient", "series"], sort=False).ngroup().to_numpy()
    firsts = np.flatnonzero(np.diff(series, prepend=-1))
    positions_mm = np.split(slices["position_mm"].to_numpy(dtype=np.float64), firsts[1:])
    return [
        range(first + stack.start, first + stack.stop)
        for first, own_mm in zip(firsts.tolist(), positions_mm, strict=False)
        for stack in unbroken_stacks(own_mm)
    ]


def _fits(pairs: npt.NDArray[np.int16], slices: pd.DataFrame, origins: npt.NDArray[np.int16], patch_size: int) -> bool:
    """Tell whether all slices and patches lie within the images; a position outside would crash the device."""
    counts = slices[["first_origin", "origins", "rows", "columns"]].to_numpy(dtype=np.int64)
    ends, sizes = counts[:, 0] + counts[:, 1], counts[:, 2:]
    if len(counts) and (counts.min() < 0 or ends.max() > len(origins) or (sizes > pairs.shape[2:]).any()):
        return False
    return not len(origins) or (origins.min() >= 0 and int(origins.max()) + patch_size <= max(pairs.shape[2:]))

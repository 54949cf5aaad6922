"""One patient's part of a training store: written into its place, noted as done, and found done by a later run.

A part is done when its note is there, and the note is written when all else is on the disk. It holds the fingerprint of
what the part was made from and the checksums of what was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from ldctpipe.data.added_noise import AddedNoise
from ldctpipe.data.array_file import RowWriter
from ldctpipe.data.origins import body_origins
from ldctpipe.data.padding_text import as_text
from ldctpipe.data.pairing import Pair
from ldctpipe.data.store_plan import PatientPlan
from ldctpipe.errors import InputError
from ldctpipe.files import new_file
from ldctpipe.volumes.normalization import AIR_HU
from ldctpipe.volumes.padding import with_air
from ldctpipe.volumes.volume import HuArray, Volume


@dataclass(frozen=True)
class PatientPart:
    """What is known of a part.

    `table` has a row a slice; `origins` (patches, 2) the (row, column) of all listed patches, slice after slice.
    `series` are the counts of slices of its series. `checksums` are the SHA-256 of its rows of each array, by the name
    of the file.
    """

    fingerprint: str
    series: list[int]
    table: list[dict[str, Any]]
    origins: npt.NDArray[np.int16]
    added_noise: AddedNoise
    checksums: dict[str, str]

    def write(self, path: Path) -> None:
        """Write the note of this part, whole or not at all."""
        told = {
            "fingerprint": self.fingerprint,
            "series": self.series,
            "table": self.table,
            "added_noise": asdict(self.added_noise),
            "checksums": self.checksums,
        }
        with new_file(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, told=np.array(json.dumps(told)), origins=self.origins)

    @classmethod
    def read(cls, path: Path) -> PatientPart | None:
        """Return the part that is noted at `path`; None where that is no whole note."""
        try:
            with np.load(path) as note:
                told = json.loads(str(note["told"]))
                return cls(**{**told, "added_noise": AddedNoise(**told["added_noise"])}, origins=note["origins"])
        except (OSError, ValueError, KeyError, TypeError, BadZipFile, EOFError, RecursionError, MemoryError):
            return None


def write_part(
    plan: PatientPlan, notes: Path, threads: int | None, stop_if_asked: Callable[[], None] = lambda: None
) -> PatientPart:
    """Write the patient's slices into the store's arrays and then its note, and return what that holds.

    Holds the patient's volumes and nothing of the others'. Calls `stop_if_asked` before each slice. Raises `InputError`
    for scans that are no pair, or that changed since their headers were read.
    """
    fingerprint = plan.fingerprint()  # before the scans are read: one that changes meanwhile is not the one noted
    simulated = plan.store.simulated
    pairs = list(plan.scans.pairs(simulated, threads))
    series = [len(pair.low_index) for pair, _ in pairs]
    if sum(series) != len(plan.splits):
        fault = f"has {sum(series)} slices where its headers promised {len(plan.splits)}"
        raise InputError(f"patient {plan.scans.patient}", fault, "leave its files alone and run the command again")
    slices = _Slices(plan)
    with ExitStack() as files:
        writers = [files.enter_context(array.rows_from(plan.first)) for array in plan.store.arrays]
        for pair, scan in pairs:
            for low, full, row in _stored_slices(pair):
                stop_if_asked()
                slices.write(writers[0], low, full, row)
            if simulated and scan:
                for images in simulated.noise(scan, *plan.store.shape[2:]):
                    stop_if_asked()
                    writers[1].write(images)
    checksums = {array.path.name: writer.sha256 for array, writer in zip(plan.store.arrays, writers, strict=True)}
    origins = np.concatenate(slices.origins)
    part = PatientPart(fingerprint, series, slices.table, origins, slices.added_noise, checksums)
    part.write(_note(plan, notes))
    return part


def done_part(plan: PatientPlan, notes: Path) -> PatientPart | None:
    """Return the patient's part where it is done, was made from what the plan says, and is on the disk as written."""
    part = PatientPart.read(_note(plan, notes))
    if part is None or part.fingerprint != plan.fingerprint() or damaged_arrays(plan, part):
        return None
    return part


def damaged_arrays(plan: PatientPlan, part: PatientPart, whole: Any = None) -> list[str]:
    """Return the names of the files in which the part's rows, read from the disk, are not what was written.

    `whole` is a digest that takes in all that is read: of each series the pairs and then the noise.
    """
    digests = {array.path.name: hashlib.sha256() for array in plan.store.arrays}
    first = plan.first
    for count in part.series:
        for array in plan.store.arrays:
            for block in array.blocks(first, count):
                digests[array.path.name].update(block)
                if whole is not None:
                    whole.update(block)
        first += count
    return [name for name, digest in digests.items() if digest.hexdigest() != part.checksums.get(name)]


def _note(plan: PatientPlan, notes: Path) -> Path:
    return notes / f"{plan.scans.patient}.npz"


class _Slices:
    """Writes slices of one patient and gathers what is to be noted of them."""

    def __init__(self, plan: PatientPlan) -> None:
        self._plan, self._splits = plan, iter(plan.splits)
        self.table: list[dict[str, Any]] = []
        self.origins: list[npt.NDArray[np.int16]] = []
        self.added_noise = AddedNoise()

    def write(self, writer: RowWriter, low: HuArray, full: HuArray, row: dict[str, Any]) -> None:
        # Air around a slice that is smaller than the largest.
        both = np.full(self._plan.store.shape[1:], AIR_HU, dtype=np.int16)
        both[:, : full.shape[0], : full.shape[1]] = low, full
        writer.write(both)
        self.added_noise.add(low, full)
        self.origins.append(body_origins(full, self._plan.store.patch_size))
        self.table.append(
            {
                "patient": self._plan.scans.patient,
                **row,
                "split": next(self._splits),
                "rows": full.shape[0],
                "columns": full.shape[1],
                "origins": len(self.origins[-1]),
            }
        )


def _stored_slices(pair: Pair) -> Iterator[tuple[HuArray, HuArray, dict[str, Any]]]:
    """Yield low and full dose of each slice as int16 HU, and what tells where it is from."""
    for low_index, full_index in zip(pair.low_index, pair.full_index, strict=True):
        row = {
            "series": pair.full.key,
            "position_mm": float(pair.full.positions_mm[full_index]),
            "pixel_mm": pair.full.spacing_mm[1],
            "thickness_mm": pair.full.acquisition.slice_thickness_mm,
            "padding": as_text(_padding(pair, low_index, full_index)),
        }
        yield _stored(pair.low, low_index), _stored(pair.full, full_index), row


def _padding(pair: Pair, low_index: int, full_index: int) -> npt.NDArray[np.bool_] | None:
    """Return where either dose holds no measurement; None where both do everywhere."""
    pairs = ((pair.low, low_index), (pair.full, full_index))
    masks = [volume.padding[int(index)] for volume, index in pairs if volume.padding is not None]
    return np.logical_or.reduce(masks) if masks else None


def _stored(volume: Volume, index: int) -> HuArray:
    """Return one slice as int16 HU, with air where the scanner padded."""
    hu = np.rint(volume.hu[index]).astype(np.int16)
    return with_air(hu, None if volume.padding is None else volume.padding[index])

"""Where in a training store each patient's slices go, known from headers before a pixel is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ldctpipe import __version__
from ldctpipe.data.array_file import ArrayFile
from ldctpipe.data.patient_scans import PatientScans
from ldctpipe.data.store import FORMAT, NOISE, PAIRS
from ldctpipe.errors import InputError
from ldctpipe.files import sha256_of_text
from ldctpipe.progress import warn

if TYPE_CHECKING:
    from ldctpipe.data.simulated_doses import SimulatedDoses

_NOTE_FORMAT = "ldctpipe-part@2"  # another one wherever a part's note holds something else than before
_VALIDATION_SHARE = 0.05  # of each training patient's slices, where there is no patient to spare
_LEAST_SLICES_TO_SPARE = 20


@dataclass(frozen=True)
class StorePlan:
    """What all patients of a store have in common; `shape` is (slices, 2, rows, columns)."""

    folder: Path
    shape: tuple[int, int, int, int]
    patch_size: int
    simulated: SimulatedDoses | None

    @property
    def pairs(self) -> ArrayFile:
        """The array of pairs."""
        return ArrayFile(self.folder / PAIRS, self.shape)

    @property
    def noise(self) -> ArrayFile | None:
        """The array of noise images, where doses are simulated."""
        if self.simulated is None:
            return None
        slices, _, rows, columns = self.shape
        return ArrayFile(self.folder / NOISE, (slices, self.simulated.realisations, 2, rows, columns))

    @property
    def arrays(self) -> list[ArrayFile]:
        """All arrays that have a row a slice."""
        return [array for array in (self.pairs, self.noise) if array is not None]


@dataclass(frozen=True)
class PatientPlan:
    """One patient's place in a store: `splits` has one a slice, and `first` is where the first of them goes."""

    store: StorePlan
    scans: PatientScans
    first: int
    splits: tuple[str, ...]

    def fingerprint(self) -> str:
        """Return what stands for all that this patient's part of the store follows from: scans, place, settings."""
        simulated = self.store.simulated
        told = {
            "format": FORMAT,
            "note": _NOTE_FORMAT,
            "ldctpipe": __version__,
            "patient": self.scans.patient,
            "files": self.scans.file_states(),
            "first": self.first,
            "splits": self.splits,
            "size": self.store.shape[2:],
            "patch_size": self.store.patch_size,
            "simulated": simulated.describe() if simulated else None,
        }
        return sha256_of_text(json.dumps(told))  # which escapes what is no text in a path


def plan_patients(
    folder: Path,
    scans: Sequence[PatientScans],
    chosen: str,
    patch_size: int,
    simulated: SimulatedDoses | None,
    threads: int | None,
) -> list[PatientPlan]:
    """Return the plan of each patient, in their order; full-dose slices that have a partner become pairs of one size.

    With `chosen` "slices", the end of each long scan validates. Raises `InputError` where no slice holds a patch.
    """
    shapes = [np.array(one.pair_shapes(threads)) for one in scans]
    slices, rows, columns = np.concatenate(shapes).T
    if min(rows.max(), columns.max()) < patch_size:
        raise InputError(None, f"no slice is as large as a patch of {patch_size} pixels", "give larger slices")
    shape = int(slices.sum()), 2, int(rows.max()), int(columns.max())
    store = StorePlan(folder, shape, patch_size, simulated)
    plans, first = [], 0
    for one, count in zip(scans, (int(each[:, 0].sum()) for each in shapes), strict=True):
        plans.append(PatientPlan(store, one, first, _splits(one, count, chosen)))
        first += count
    return plans


def _splits(scans: PatientScans, slices: int, chosen: str) -> tuple[str, ...]:
    """Return the split of each slice of a patient."""
    spared = 0
    if chosen == "slices" and slices >= _LEAST_SLICES_TO_SPARE:
        spared = max(1, round(_VALIDATION_SHARE * slices))
        warn(
            f"patient {scans.patient}: the last {spared} of {slices} slices validate, because there is no patient to "
            "spare; they are not independent of the slices trained on"
        )
    return (scans.split,) * (slices - spared) + ("validation",) * spared

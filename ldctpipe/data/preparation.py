"""From paired scans to the training store: several patients at a time, resumable, and checked when it is written."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ldctpipe import __version__
from ldctpipe.data.added_noise import AddedNoise
from ldctpipe.data.patient_part import PatientPart, damaged_arrays, done_part, write_part
from ldctpipe.data.patient_scans import PatientScans
from ldctpipe.data.patient_workers import each_patient
from ldctpipe.data.same_scans import NamedScan, refuse_same_scans
from ldctpipe.data.samplesheet import Row, read_sheet
from ldctpipe.data.store import DESCRIPTION, FORMAT, ORIGINS, SLICES
from ldctpipe.data.store_plan import PatientPlan, StorePlan, plan_patients
from ldctpipe.data.unfinished import Unfinished, unfinished_folder
from ldctpipe.devices import usable_cores
from ldctpipe.errors import InputError
from ldctpipe.files import write_json
from ldctpipe.progress import Progress, say, track

if TYPE_CHECKING:
    from ldctpipe.data.simulated_doses import SimulatedDoses

_LEAST_PATIENTS_TO_SPARE = 3


def prepare_store(
    sheet: Path,
    out: Path,
    *,
    cases: Path | None = None,
    patch_size: int = 64,
    simulated: SimulatedDoses | None = None,
    threads: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the training store of all patients of `sheet` that are not for testing; return its description.

    With `cases`, scans are read from `cases/PATIENT/{low_dose,full_dose}` and the sheet gives names and splits alone.
    Where the sheet names no validation patient, the last of three or more training patients validates; of fewer, the
    last twentieth of each scan with 20 slices or more, which a warning calls not independent. `description` says which
    under "validation": "named", "automatically", "slices" or "none". With `simulated`, the low dose is made from the
    full dose, and the store gets noise for every other dose of the range.

    As many patients are worked on at a time as there are `threads` (what this process may use where not given), which
    changes no byte of the store. What a killed process had done of the same patients with the same settings is kept.
    The arrays are read back from the disk at the end. Raises `InputError` for scans that do not form a pair, or that
    occur under two names in different splits, and `OSError` for a full disk, or one that returns altered data.
    """
    every = read_sheet(sheet, check_paths=cases is None)
    rows = [row for row in every if row.split != "test"]
    if not rows:
        raise InputError(sheet, "has no patient to train on", "give at least one row another split than test")
    if tested := [row.patient for row in every if row.split == "test"]:
        say(f"{len(tested)} patient(s) are for testing and left out: {', '.join(tested)}")
    chosen, rows = _with_validation(rows)
    scans = [PatientScans.of(row, cases, simulated) for row in rows]
    inputs = [sheet, *(path for one in scans for path in one.paths)]
    with unfinished_folder(out, overwrite=overwrite, inputs=inputs) as work:
        refuse_same_scans(sheet, _named_scans(every, rows, cases), threads)
        plans = plan_patients(work.result, scans, chosen, patch_size, simulated, threads)
        parts = _parts(plans, work, threads or usable_cores())
        sha256 = _read_back(plans, parts, work)
        return _finish(plans[0].store, parts, chosen, sha256)


def _named_scans(every: Sequence[Row], rows: Sequence[Row], cases: Path | None) -> Iterator[NamedScan]:
    """All scans of the sheet that exist here, including those for testing."""
    splits = {row.patient: row.split for row in rows}
    for row in every:
        low, full = row.low_dose, row.full_dose
        if cases:
            low, full = cases / row.patient / "low_dose", cases / row.patient / "full_dose"
        for path in (full, low):
            if path is not None and path.exists():
                yield NamedScan(row.patient, splits.get(row.patient, "test"), path)


def _with_validation(rows: Sequence[Row]) -> tuple[str, list[Row]]:
    """Return how the validation is chosen ("named", "automatically", "slices") and the rows with it."""
    rows = [replace(row, split=row.split or "train") for row in rows]
    if any(row.split == "validation" for row in rows):
        return "named", rows
    if len(rows) < _LEAST_PATIENTS_TO_SPARE:
        return "slices", rows
    say(f"validation: patient {rows[-1].patient}, the last one, because the samplesheet names none")
    return "automatically", [*rows[:-1], replace(rows[-1], split="validation")]


def _parts(plans: Sequence[PatientPlan], work: Unfinished, threads: int) -> list[PatientPart]:
    """Return the part of each patient, in their order; those that are not done are written."""
    _create_arrays(plans[0].store)
    parts = _done(plans, work)
    missing = [plan for plan in plans if plan.scans.patient not in parts]
    progress = Progress("pairing and writing", len(plans), "patients", done=len(parts))
    # A simulation uses all threads itself, and its last bit would depend on another one beside it.
    workers = 1 if plans[0].store.simulated else max(1, min(threads, len(missing)))

    def write(plan: PatientPlan, stop_if_asked: Callable[[], None]) -> PatientPart:
        return write_part(plan, work.parts, max(1, threads // workers), stop_if_asked)

    def count(plan: PatientPlan, part: PatientPart) -> None:
        parts[plan.scans.patient] = part
        progress.advance()

    each_patient(write, missing, workers, count)
    progress.finish()
    return [parts[plan.scans.patient] for plan in plans]


def _create_arrays(store: StorePlan) -> None:
    """Make room for all patients, and away with what an earlier process left that is not of this store."""
    names = {array.path.name for array in store.arrays}
    for path in store.folder.iterdir():
        if path.name not in names:
            path.unlink()
    for array in store.arrays:
        array.create()


def _done(plans: Sequence[PatientPlan], work: Unfinished) -> dict[str, PatientPart]:
    """Return the parts, by patient, that an earlier process has done."""
    if not any(work.parts.iterdir()):
        return {}
    found = {
        plan.scans.patient: done_part(plan, work.parts) for plan in track(plans, "checking what is done", "patients")
    }
    parts = {patient: part for patient, part in found.items() if part}
    if parts:
        say(f"going on: {len(parts)} of {len(plans)} patients are done")
    return parts


def _read_back(plans: Sequence[PatientPlan], parts: Sequence[PatientPart], work: Unfinished) -> str:
    """Return the SHA-256 of all arrays as they are on the disk; raises `OSError` where that is not what was written."""
    whole = hashlib.sha256()
    for plan, part in track(list(zip(plans, parts, strict=True)), "checking what was written", "patients"):
        if damaged := damaged_arrays(plan, part, whole):
            fault = f"patient {plan.scans.patient} does not read back from {' and '.join(damaged)} as it was written"
            raise OSError(errno.EIO, fault, str(work.result))
    return whole.hexdigest()


def _finish(store: StorePlan, parts: Sequence[PatientPart], chosen: str, sha256: str) -> dict[str, Any]:
    """Write all that lies beside the arrays; return the description."""
    slices = pd.DataFrame([row for part in parts for row in part.table])
    slices["first_origin"] = slices["origins"].cumsum() - slices["origins"]
    slices["thickness_mm"] = slices["thickness_mm"].astype(float)  # which one that is nowhere known is not
    _require_patches(slices)
    slices.to_parquet(store.folder / SLICES)
    np.save(store.folder / ORIGINS, np.concatenate([part.origins for part in parts]))
    added = AddedNoise()
    for part in parts:
        added.add_sums(part.added_noise)
    description = _describe(slices, added, sha256, store, chosen)
    description["checksums"] = {part.table[0]["patient"]: part.checksums for part in parts}
    description["simulated"] = store.simulated.describe() if store.simulated else None
    write_json(store.folder / DESCRIPTION, description)
    return description


def _require_patches(slices: pd.DataFrame) -> None:
    train = slices[slices["split"] == "train"]
    if train.empty or train["origins"].sum() == 0:
        raise InputError(None, "no training slice shows a body", "check that the scans are CT of patients, in HU")


def _describe(slices: pd.DataFrame, added: AddedNoise, sha256: str, store: StorePlan, chosen: str) -> dict[str, Any]:
    patients = {str(split): sorted(group["patient"].unique()) for split, group in slices.groupby("split")}
    validating = patients.get("validation", [])
    mean_hu, sd_hu = added.mean_and_sd_hu()
    return {
        "format": FORMAT,
        "ldctpipe": __version__,
        "sha256": sha256,
        "shape": list(store.shape),
        "patch_size": store.patch_size,
        "patients": patients,
        "validation": {"chosen": chosen if validating else "none", "patients": validating},
        "slices": {str(split): len(group) for split, group in slices.groupby("split")},
        "body_origins": int(slices["origins"].sum()),
        "mean_added_hu": round(mean_hu, 3),  # in the body
        "sd_added_hu": round(sd_hu, 3),
    }

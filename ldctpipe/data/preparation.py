"""From paired scans to the training store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ldctpipe import __version__
from ldctpipe.data.origins import body_origins
from ldctpipe.data.pairing import Pair, pair_volumes
from ldctpipe.data.samplesheet import Row, read_sheet
from ldctpipe.data.scans import load_volumes
from ldctpipe.data.store import DESCRIPTION, FORMAT, ORIGINS, PAIRS, SLICES
from ldctpipe.errors import InputError
from ldctpipe.files import new_folder, write_json
from ldctpipe.progress import say, track
from ldctpipe.volumes.volume import HuArray, Volume

AIR_HU = -1000
_VALIDATION_SHARE = 0.05  # of each training patient's slices, where no patient is named for validation
_LEAST_SLICES_TO_SPARE = 20
_LEAST_PATIENTS_TO_SPARE = 4


@dataclass(frozen=True)
class _Patient:
    name: str
    split: str
    pairs: list[Pair]

    @property
    def slices(self) -> int:
        return sum(len(pair.low_index) for pair in self.pairs)


def prepare_store(
    sheet: Path, out: Path, *, cases: Path | None = None, patch_size: int = 64, overwrite: bool = False
) -> dict[str, Any]:
    """Write the training store of all patients of `sheet` that are not for testing; return its description.

    With `cases`, scans are read from `cases/PATIENT/{low_dose,full_dose}` and the sheet gives names and splits alone.
    Where the sheet names no validation patient, the last twentieth of each longer training scan validates; with short
    scans only, the last of four or more patients does.
    """
    rows = [row for row in read_sheet(sheet) if row.split != "test"]
    if not rows:
        raise InputError(sheet, "has no patient to train on", "give at least one row another split than test")
    with new_folder(out, overwrite=overwrite) as folder:
        patients = [_load(row, cases) for row in track(rows, "reading and pairing", "patients")]
        return _write(folder, _with_validation(patients), patch_size)


def _load(row: Row, cases: Path | None) -> _Patient:
    low = cases / row.patient / "low_dose" if cases else row.low_dose
    full = cases / row.patient / "full_dose" if cases else row.full_dose
    if low is None or full is None:
        missing = "low-dose" if low is None else "full-dose"
        raise InputError(
            row.patient, f"has no {missing} scan", "add it to the samplesheet, or make one with `ldctpipe simulate`"
        )
    try:
        pairs = pair_volumes(load_volumes(low), load_volumes(full))
    except InputError as error:
        raise InputError(f"patient {row.patient}, {error.path}", error.fault, error.remedy) from None
    return _Patient(row.patient, row.split or "train", pairs)


def _with_validation(patients: list[_Patient]) -> list[_Patient]:
    """Return the patients with one named for validation where scans are too short to spare slices and none is named."""
    named = any(patient.split == "validation" for patient in patients)
    spare = any(patient.slices >= _LEAST_SLICES_TO_SPARE for patient in patients)
    if named or spare or len(patients) < _LEAST_PATIENTS_TO_SPARE:
        return patients
    say(f"validation: patient {patients[-1].name}, because no patient is named for it and all scans are short")
    return [*patients[:-1], replace(patients[-1], split="validation")]


def _splits(patients: Sequence[_Patient]) -> dict[str, list[str]]:
    """Return for each patient the split of each of its slices."""
    named = any(patient.split == "validation" for patient in patients)
    splits = {}
    for patient in patients:
        spared = 0
        if not named and patient.slices >= _LEAST_SLICES_TO_SPARE:
            spared = max(1, round(_VALIDATION_SHARE * patient.slices))
        splits[patient.name] = [patient.split] * (patient.slices - spared) + ["validation"] * spared
    return splits


def _write(folder: Path, patients: Sequence[_Patient], patch_size: int) -> dict[str, Any]:
    count = sum(patient.slices for patient in patients)
    rows, columns = _largest_slice(patients, patch_size)
    pairs = np.lib.format.open_memmap(folder / PAIRS, mode="w+", dtype=np.int16, shape=(count, 2, rows, columns))
    splits = _splits(patients)
    table: list[dict[str, Any]] = []
    origins: list[npt.NDArray[np.int16]] = []
    digest = hashlib.sha256()
    for patient in track(patients, "writing", "patients"):
        own_splits = iter(splits[patient.name])
        for pair in patient.pairs:
            for low_index, full_index in zip(pair.low_index, pair.full_index, strict=True):
                index = len(table)
                pairs[index] = AIR_HU  # around a slice that is smaller than the largest
                low, full = _stored(pair.low, low_index), _stored(pair.full, full_index)
                pairs[index, 0, : low.shape[0], : low.shape[1]] = low
                pairs[index, 1, : full.shape[0], : full.shape[1]] = full
                digest.update(pairs[index].tobytes())
                origins.append(body_origins(full, patch_size))
                table.append(
                    {
                        "patient": patient.name,
                        "series": pair.full.key,
                        "position_mm": float(pair.full.positions_mm[full_index]),
                        "split": next(own_splits),
                        "rows": full.shape[0],
                        "columns": full.shape[1],
                        "origins": len(origins[-1]),
                    }
                )
    pairs.flush()
    slices = pd.DataFrame(table)
    slices["first_origin"] = slices["origins"].cumsum() - slices["origins"]
    _require_patches(slices)
    slices.to_parquet(folder / SLICES)
    np.save(folder / ORIGINS, np.concatenate(origins))
    description = _describe(slices, pairs, patch_size, digest.hexdigest())
    write_json(folder / DESCRIPTION, description)
    return description


def _largest_slice(patients: Sequence[_Patient], patch_size: int) -> tuple[int, int]:
    shapes = np.array([pair.full.hu.shape[1:] for patient in patients for pair in patient.pairs])
    rows, columns = shapes.max(axis=0)
    if min(rows, columns) < patch_size:
        raise InputError(None, f"no slice is as large as a patch of {patch_size} pixels", "give larger slices")
    return int(rows), int(columns)


def _stored(volume: Volume, index: int) -> HuArray:
    """Return one slice as int16 HU, with air where the scanner padded."""
    hu = np.rint(volume.hu[index]).astype(np.int16)
    return hu if volume.padding is None else np.where(volume.padding[index], np.int16(AIR_HU), hu)


def _require_patches(slices: pd.DataFrame) -> None:
    train = slices[slices["split"] == "train"]
    if train.empty or train["origins"].sum() == 0:
        raise InputError(None, "no training slice shows a body", "check that the scans are CT of patients, in HU")


def _describe(slices: pd.DataFrame, pairs: npt.NDArray[np.int16], patch_size: int, digest: str) -> dict[str, Any]:
    added = pairs[:, 0].astype(np.float32) - pairs[:, 1]
    return {
        "format": FORMAT,
        "ldctpipe": __version__,
        "sha256": digest,
        "shape": list(pairs.shape),
        "patch_size": patch_size,
        "patients": {split: sorted(group["patient"].unique()) for split, group in slices.groupby("split")},
        "slices": {str(split): len(group) for split, group in slices.groupby("split")},
        "body_origins": int(slices["origins"].sum()),
        "mean_added_hu": round(float(added.mean()), 3),
        "sd_added_hu": round(float(added.std()), 3),
    }

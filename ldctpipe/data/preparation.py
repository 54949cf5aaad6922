"""From paired scans to the training store, patient by patient: memory never holds more than one patient."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd

from ldctpipe import __version__
from ldctpipe.data.origins import BODY_ABOVE_HU, body_origins
from ldctpipe.data.pairing import Pair, pair_volumes
from ldctpipe.data.samplesheet import Row, read_sheet
from ldctpipe.data.scans import load_volumes, scan_shapes
from ldctpipe.data.simulated_doses import SimulatedDoses
from ldctpipe.data.store import DESCRIPTION, FORMAT, NOISE, ORIGINS, PAIRS, SLICES
from ldctpipe.errors import InputError
from ldctpipe.files import new_folder, write_json
from ldctpipe.progress import say, track, warn
from ldctpipe.simulation.calibrated_scan import CalibratedScan
from ldctpipe.volumes.volume import HuArray, Volume

AIR_HU = -1000
_LEAST_PATIENTS_TO_SPARE = 3
_VALIDATION_SHARE = 0.05  # of each training patient's slices, where there is no patient to spare
_LEAST_SLICES_TO_SPARE = 20


def prepare_store(
    sheet: Path,
    out: Path,
    *,
    cases: Path | None = None,
    patch_size: int = 64,
    simulated: SimulatedDoses | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the training store of all patients of `sheet` that are not for testing; return its description.

    With `cases`, scans are read from `cases/PATIENT/{low_dose,full_dose}` and the sheet gives names and splits alone.
    Where the sheet names no validation patient, the last of three or more training patients validates; of fewer, the
    last twentieth of each scan with 20 slices or more, which a warning calls not independent. `description` says which
    under "validation": "named", "automatically", "slices" or "none". With `simulated`, the low dose is made from the
    full dose, and the store gets noise for every other dose of the range. Raises `InputError` for scans that are no
    pair.
    """
    rows = [row for row in read_sheet(sheet, check_paths=cases is None) if row.split != "test"]
    if not rows:
        raise InputError(sheet, "has no patient to train on", "give at least one row another split than test")
    chosen, rows = _with_validation(rows)
    scans = [_Scans.of(row, cases, simulated) for row in rows]
    inputs = [sheet, *(path for one in scans for path in (one.low_dose, one.full_dose) if path)]
    with new_folder(out, overwrite=overwrite, inputs=inputs) as folder:
        shape = _store_shape(scans, patch_size)
        return _write(folder, scans, shape, patch_size, chosen, simulated)


def _with_validation(rows: Sequence[Row]) -> tuple[str, list[Row]]:
    """Return how the validation is chosen ("named", "automatically", "slices") and the rows with it."""
    rows = [replace(row, split=row.split or "train") for row in rows]
    if any(row.split == "validation" for row in rows):
        return "named", rows
    if len(rows) < _LEAST_PATIENTS_TO_SPARE:
        return "slices", rows
    say(f"validation: patient {rows[-1].patient}, the last one, because the samplesheet names none")
    return "automatically", [*rows[:-1], replace(rows[-1], split="validation")]


@dataclass(frozen=True)
class _Scans:
    """Where one patient's two scans are; `low_dose` is None where it is simulated."""

    patient: str
    split: str
    low_dose: Path | None
    full_dose: Path

    @classmethod
    def of(cls, row: Row, cases: Path | None, simulated: SimulatedDoses | None) -> _Scans:
        low = cases / row.patient / "low_dose" if cases else row.low_dose
        full = cases / row.patient / "full_dose" if cases else row.full_dose
        if full is None or (low is None and simulated is None):
            missing = "full-dose" if full is None else "low-dose"
            remedy = "add it to the samplesheet, or make one with `ldctpipe simulate` or --dose-range"
            raise InputError(row.patient, f"has no {missing} scan", remedy)
        return cls(row.patient, row.split, None if simulated else low, full)

    def pairs(self, simulated: SimulatedDoses | None) -> Iterator[tuple[Pair, CalibratedScan | None]]:
        """Yield the patient's pairs, with the calibrated full dose where the low dose is simulated."""
        try:
            full = load_volumes(self.full_dose)
            if simulated is not None:
                for scan in map(simulated.scan, full):
                    yield simulated.pair(scan), scan
            elif self.low_dose is not None:
                yield from ((pair, None) for pair in pair_volumes(load_volumes(self.low_dose), full))
        except InputError as error:
            raise InputError(f"patient {self.patient}, {error.path}", error.fault, error.remedy) from None


def _store_shape(scans: Sequence[_Scans], patch_size: int) -> tuple[int, int, int, int]:
    """Return the shape of the pairs from headers alone: every full-dose slice becomes one, in the largest size."""
    shapes = np.array([shape for one in scans for shape in scan_shapes(one.full_dose)])
    rows, columns = shapes[:, 1:].max(axis=0)
    if min(rows, columns) < patch_size:
        raise InputError(None, f"no slice is as large as a patch of {patch_size} pixels", "give larger slices")
    return int(shapes[:, 0].sum()), 2, int(rows), int(columns)


@dataclass
class _AddedNoise:
    """Sums over the body of what the low dose adds, in HU."""

    pixels: int = 0
    sum_hu: int = 0
    sum_of_squares: int = 0

    def add(self, low: HuArray, full: HuArray) -> None:
        body = full > BODY_ABOVE_HU
        added = low[body].astype(np.int64) - full[body]
        self.pixels += added.size
        self.sum_hu += int(added.sum())
        self.sum_of_squares += int((added**2).sum())

    def mean_and_sd_hu(self) -> tuple[float, float]:
        mean = self.sum_hu / max(self.pixels, 1)
        return mean, float(np.sqrt(max(self.sum_of_squares / max(self.pixels, 1) - mean**2, 0.0)))


@dataclass
class _Written:
    """What is known of the slices written so far."""

    table: list[dict[str, Any]] = field(default_factory=list)
    origins: list[npt.NDArray[np.int16]] = field(default_factory=list)
    digest: Any = field(default_factory=hashlib.sha256)
    noise: _AddedNoise = field(default_factory=_AddedNoise)


def _write(
    folder: Path,
    scans: Sequence[_Scans],
    shape: tuple[int, int, int, int],
    patch_size: int,
    chosen: str,
    simulated: SimulatedDoses | None,
) -> dict[str, Any]:
    written = _Written()
    with ExitStack() as files:
        pairs_file = files.enter_context(_array_file(folder / PAIRS, shape))
        if simulated:
            noise_shape = (shape[0], simulated.realisations, 2, *shape[2:])
            noise_file = files.enter_context(_array_file(folder / NOISE, noise_shape))
        for one in track(scans, "pairing and writing", "patients"):
            pairs = list(one.pairs(simulated))
            splits = iter(_splits(one, sum(len(pair.low_index) for pair, _ in pairs), chosen))
            for pair, scan in pairs:
                _write_pair(pairs_file, pair, one.patient, splits, written, shape, patch_size)
                if simulated and scan:
                    _write_noise(noise_file, simulated.noise(scan, *shape[2:]), written)
    if len(written.table) != shape[0]:
        raise RuntimeError(f"headers promised {shape[0]} slices, the scans gave {len(written.table)}")
    slices = pd.DataFrame(written.table)
    slices["first_origin"] = slices["origins"].cumsum() - slices["origins"]
    _require_patches(slices)
    slices.to_parquet(folder / SLICES)
    np.save(folder / ORIGINS, np.concatenate(written.origins))
    description = _describe(slices, written, shape, patch_size, chosen)
    description["simulated"] = simulated.describe() if simulated else None
    write_json(folder / DESCRIPTION, description)
    return description


@contextmanager
def _array_file(path: Path, shape: tuple[int, ...]) -> Iterator[BinaryIO]:
    """Yield a file to which int16 arrays of `shape` in all are appended; memory-mapped, a full disk would kill us."""
    with path.open("wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.int16)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        yield stream


def _write_noise(stream: BinaryIO, noise: Iterable[npt.NDArray[np.int16]], written: _Written) -> None:
    for images in noise:
        stream.write(images.data)
        written.digest.update(images.data)


def _splits(scans: _Scans, slices: int, chosen: str) -> list[str]:
    """Return the split of each slice of a patient."""
    spared = 0
    if chosen == "slices" and slices >= _LEAST_SLICES_TO_SPARE:
        spared = max(1, round(_VALIDATION_SHARE * slices))
        warn(
            f"patient {scans.patient}: the last {spared} of {slices} slices validate, because there is no patient to "
            "spare; they are not independent of the slices trained on"
        )
    return [scans.split] * (slices - spared) + ["validation"] * spared


def _write_pair(
    stream: BinaryIO,
    pair: Pair,
    patient: str,
    splits: Iterator[str],
    written: _Written,
    shape: tuple[int, int, int, int],
    patch_size: int,
) -> None:
    for low_index, full_index in zip(pair.low_index, pair.full_index, strict=True):
        low, full = _stored(pair.low, low_index), _stored(pair.full, full_index)
        both = np.full(shape[1:], AIR_HU, dtype=np.int16)  # air around a slice that is smaller than the largest
        both[:, : full.shape[0], : full.shape[1]] = low, full
        stream.write(both.data)
        written.digest.update(both.data)
        written.noise.add(low, full)
        written.origins.append(body_origins(full, patch_size))
        written.table.append(
            {
                "patient": patient,
                "series": pair.full.key,
                "position_mm": float(pair.full.positions_mm[full_index]),
                "split": next(splits),
                "rows": full.shape[0],
                "columns": full.shape[1],
                "origins": len(written.origins[-1]),
            }
        )


def _stored(volume: Volume, index: int) -> HuArray:
    """Return one slice as int16 HU, with air where the scanner padded."""
    hu = np.rint(volume.hu[index]).astype(np.int16)
    return hu if volume.padding is None else np.where(volume.padding[index], np.int16(AIR_HU), hu)


def _require_patches(slices: pd.DataFrame) -> None:
    train = slices[slices["split"] == "train"]
    if train.empty or train["origins"].sum() == 0:
        raise InputError(None, "no training slice shows a body", "check that the scans are CT of patients, in HU")


def _describe(
    slices: pd.DataFrame, written: _Written, shape: tuple[int, int, int, int], patch_size: int, chosen: str
) -> dict[str, Any]:
    patients = {str(split): sorted(group["patient"].unique()) for split, group in slices.groupby("split")}
    validating = patients.get("validation", [])
    mean_hu, sd_hu = written.noise.mean_and_sd_hu()
    return {
        "format": FORMAT,
        "ldctpipe": __version__,
        "sha256": written.digest.hexdigest(),
        "shape": list(shape),
        "patch_size": patch_size,
        "patients": patients,
        "validation": {"chosen": chosen if validating else "none", "patients": validating},
        "slices": {str(split): len(group) for split, group in slices.groupby("split")},
        "body_origins": int(slices["origins"].sum()),
        "mean_added_hu": round(mean_hu, 3),  # in the body
        "sd_added_hu": round(sd_hu, 3),
    }

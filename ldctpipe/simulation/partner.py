"""Reduced-dose partners of DICOM series, cohorts and NIfTI volumes, in the layout of their input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from ldctpipe import __version__
from ldctpipe.devices import pick_device
from ldctpipe.dicom.derivation import Derivation
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series
from ldctpipe.dicom.writing import write_derived_series
from ldctpipe.errors import UsageError
from ldctpipe.files import new_folder, require_exists, write_json
from ldctpipe.progress import Progress, warn
from ldctpipe.provenance import run_time
from ldctpipe.simulation.reduction import Reduction, reduce_dose
from ldctpipe.volumes.nifti import is_nifti, read_nifti, write_nifti
from ldctpipe.volumes.volume import Volume

RECORD_NAME = "simulation.json"
RECORD_FORMAT = "ldctpipe-simulation@1"


def simulate_partner(
    source: Path,
    out: Path,
    dose: float,
    seed: int,
    *,
    quanta: float | None = None,
    threads: int | None = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> list[Path]:
    """Write the reduced-dose partner of `source` into the folder `out` and return what was written.

    `source` is a NIfTI file, or a DICOM file, series or cohort whose folders `out` mirrors. `simulation.json` in
    `out` says how each series was made. Raises `UsageError` for a dose outside (0, 1] and for an `out` that would take
    the place of `source`, `InputError` for input that can't be used.
    """
    if not 0.0 < dose <= 1.0:
        raise UsageError(None, f"a dose of {dose:g} is not above 0 and at most 1", "give a share such as 0.25")
    require_exists(source)
    place = _torch_device(device)

    def reduce(volume: Volume, done: Callable[[int], None]) -> Reduction:
        return reduce_dose(volume, dose, seed, quanta=quanta, device=place, threads=threads, done=done)

    with new_folder(out, overwrite=overwrite, inputs=[source]) as folder:
        if is_nifti(source):
            names, records = _simulate_nifti(source, folder, reduce)
        else:
            names, records = _simulate_dicom(source, folder, reduce, threads)
        write_json(folder / RECORD_NAME, {"format": RECORD_FORMAT, "ldctpipe": __version__, "series": records})
    return [out / name for name in names]


def _torch_device(name: str) -> str:
    """Return the torch device for `name`; MPS, which has no sparse matrices, is refused, and passed over by `auto`."""
    kind = pick_device(name).type
    if name == "mps":
        raise UsageError(None, "--device mps: the simulation can't run there", "take --device cpu")
    return "cpu" if kind == "mps" else kind


_Reduce = Callable[[Volume, Callable[[int], None]], Reduction]


def _simulate_nifti(source: Path, folder: Path, reduce: _Reduce) -> tuple[list[Path], dict[str, Any]]:
    volume = read_nifti(source)
    progress = Progress("simulate", len(volume.hu), "slices")
    reduction = reduce(volume, progress.advance)
    progress.finish()
    _tell(volume.key, reduction)
    write_nifti(folder / source.name, reduction.hu, volume.affine)
    return [Path(source.name)], {volume.key: reduction.record}


def _simulate_dicom(
    source: Path, folder: Path, reduce: _Reduce, threads: int | None
) -> tuple[list[Path], dict[str, Any]]:
    found = discover(source, threads)
    for reason, count in found.skipped_by_reason().items():
        warn(f"{count} files skipped: {reason}")
    progress = Progress("simulate", sum(len(series.slices) for series in found.series), "slices")
    stamp, places, records = run_time(), [], {}
    for series in found.series:
        place = _relative_folder(source, series)
        reduction = reduce(read_volume(series, threads), progress.advance)
        _tell(series.key, reduction)
        (folder / place).mkdir(parents=True, exist_ok=True)
        derivation = _derivation(reduction.record, stamp)
        write_derived_series(series, reduction.hu, folder / place, derivation, threads=threads)
        records[series.key] = {"slices": len(series.slices), **reduction.record}
        places.append(place)
    progress.finish()
    return places, records


def _relative_folder(source: Path, series: Series) -> Path:
    """Return the folder of `series` relative to the input; the input itself for a single file or an archive."""
    common = Path(os.path.commonpath([image.path.parent.absolute() for image in series.slices]))
    root = source.absolute()
    return common.relative_to(root) if common.is_relative_to(root) else Path()


def _derivation(record: dict[str, Any], stamp: datetime) -> Derivation:
    settings = json.dumps({key: value for key, value in record.items() if key != "warnings"}, sort_keys=True)
    return Derivation(
        description=f"simulated reduced dose: {record['dose']:g} of the source's dose, noise inserted by filtered "
        f"back-projection, ldctpipe {__version__}; {settings}",
        code_value="DOSERED",
        code_meaning="Simulated reduced dose",
        series_suffix=f"ldctpipe dose {record['dose']:g}",
        equipment_model="ldctpipe simulate",
        software_version=__version__,
        weights_sha256=None,
        settings=settings,
        run_time=stamp,
    )


def _tell(key: str, reduction: Reduction) -> None:
    for warning in reduction.record["warnings"]:
        warn(f"series {key}: {warning}")

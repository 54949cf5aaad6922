"""Reduced-dose partners of DICOM series, cohorts, cases and NIfTI volumes, in the layout of their input."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ldctpipe import __version__
from ldctpipe.devices import pick_device
from ldctpipe.dicom.derivation import Derivation
from ldctpipe.dicom.discovery import discover_all
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series
from ldctpipe.dicom.writing import derived_names, write_derived_series
from ldctpipe.errors import InputError, ReadError, UsageError
from ldctpipe.files import new_folder, require_exists, write_json
from ldctpipe.progress import Progress, warn
from ldctpipe.provenance import run_time
from ldctpipe.simulation.calibrated_scan import PROVENANCE_KEY, Overrides, calibrated_scan
from ldctpipe.simulation.exposure import DoseRange, Exposure
from ldctpipe.simulation.reduction import Reduction, reduced
from ldctpipe.simulation.source_header import DOSE_REDUCTION_CODE, read_source_header
from ldctpipe.volumes.case import is_case, read_case, write_case
from ldctpipe.volumes.nifti import is_nifti, read_nifti, write_nifti
from ldctpipe.volumes.volume import Volume

RECORD_NAME = "simulation.json"
RECORD_FORMAT = "ldctpipe-simulation@1"

_NOT_IN_HEADER = ("warnings", "drawn", "windows", "kernel_known", "ldctpipe")


@dataclass(frozen=True)
class SimulationRequest:
    """What `ldctpipe simulate` was asked for: doses, or one range that doses are drawn from."""

    source: Path
    out: Path
    doses: Sequence[float] | DoseRange
    seed: int
    overrides: Overrides = field(default_factory=Overrides)
    views: int = 360
    threads: int | None = None
    device: str = "cpu"
    overwrite: bool = False

    @property
    def variants(self) -> dict[Path, Exposure | DoseRange]:
        """Return the folder of each dose, relative to the output: the output itself for a single one."""
        if isinstance(self.doses, DoseRange):
            return {Path(): self.doses}
        if len(self.doses) == 1:
            return {Path(): Exposure(self.doses[0])}
        return {Path(f"dose_{dose:g}"): Exposure(dose) for dose in self.doses}


@dataclass(frozen=True)
class Partners:
    """What came of it: folders (or NIfTI files) that were written, and why which series was refused."""

    written: tuple[Path, ...]
    refused: dict[str, InputError]
    series: int


def simulate_partner(request: SimulationRequest) -> Partners:
    """Write the reduced-dose partners of a source into a folder and return what was written.

    The source is a NIfTI file, an ingested case, or a DICOM file, series or cohort whose folders the output mirrors,
    below a folder for each dose where there are several. `simulation.json` says how each series was made. A series of
    several that can't be used stops no other. Raises `UsageError` for impossible doses and for an output that would
    take the place of the source, `InputError` where no series can be used.
    """
    variants = request.variants
    require_exists(request.source)
    job = _Job(request, variants, _torch_device(request.device), run_time())
    with new_folder(request.out, overwrite=request.overwrite, inputs=[request.source]) as folder:
        if is_nifti(request.source):
            partners = _simulate_nifti(job, folder)
        elif is_case(request.source):
            partners = _simulate_case(job, folder)
        else:
            partners = _simulate_dicom(job, folder)
        if not partners.written:
            raise next(iter(partners.refused.values()))
        _write_records(job, folder, partners)
    return replace(partners, written=tuple(request.out / name for name in partners.written))


def _torch_device(name: str) -> str:
    """Return the torch device for `name`; MPS, which has no sparse matrices, is refused, and passed over by `auto`."""
    kind = pick_device(name).type
    if name == "mps":
        raise UsageError(None, "--device mps: the simulation can't run there", "take --device cpu")
    return "cpu" if kind == "mps" else kind


@dataclass(frozen=True)
class _Job:
    """One run: what was asked for, the device, the time stamp, and the records of each dose as they come."""

    request: SimulationRequest
    variants: dict[Path, Exposure | DoseRange]
    device: str
    stamp: datetime
    records: dict[Path, dict[str, Any]] = field(default_factory=dict)

    def each_dose(
        self, volume: Volume, reconstruction: str, done: Callable[[int], None], write: Callable[[Path, Reduction], None]
    ) -> None:
        """Calibrate `volume` once, and give `write` the folder and the volume of each dose."""
        request = self.request
        scan = calibrated_scan(
            volume,
            request.overrides,
            reconstruction=reconstruction,
            views=request.views,
            device=self.device,
            threads=request.threads,
        )
        for warning in (*volume.warnings, *scan.warnings):
            warn(f"series {volume.key}: {warning}")
        for place, exposure in self.variants.items():
            reduction = reduced(scan, exposure, request.seed, threads=request.threads, done=done)
            write(place, reduction)
            self.records.setdefault(place, {})[volume.key] = {"slices": len(volume.hu), **reduction.record}


def _write_records(job: _Job, folder: Path, partners: Partners) -> None:
    """Write a record for each dose, and where there are several, one above them that names them."""
    head = {"format": RECORD_FORMAT, "ldctpipe": __version__}
    refused = {key: error.fault for key, error in partners.refused.items()}
    for place, records in job.records.items():
        write_json(folder / place / RECORD_NAME, {**head, "series": records, "refused": refused})
    if Path() not in job.records:
        doses = {place.as_posix(): one.dose for place, one in job.variants.items() if isinstance(one, Exposure)}
        write_json(folder / RECORD_NAME, {**head, "doses": doses, "refused": refused})


def _simulate_nifti(job: _Job, folder: Path) -> Partners:
    source = job.request.source
    _refuse_own_output(source)
    volume = read_nifti(source)
    progress = Progress("simulate", len(volume.hu) * len(job.variants), "slices")

    def write(place: Path, reduction: Reduction) -> None:
        (folder / place).mkdir(exist_ok=True)
        write_nifti(folder / place / source.name, reduction.hu, volume.affine, like=source)

    job.each_dose(volume, "", progress.advance, write)
    progress.finish()
    return Partners(tuple(place / source.name for place in job.variants), {}, 1)


def _refuse_own_output(source: Path) -> None:
    """Refuse NIfTI that this command or `denoise` wrote; the file itself can't tell, the record beside it can."""
    remedy = "give the scan that it was made from"
    if (source.parent / RECORD_NAME).is_file():
        raise InputError(source, f"is a simulated lower dose already ({RECORD_NAME} lies beside it)", remedy)
    if source.with_name(f"{source.name}.manifest.json").is_file():
        raise InputError(source, "was denoised, so its noise tells no dose (a manifest lies beside it)", remedy)


def _simulate_case(job: _Job, folder: Path) -> Partners:
    volume = read_case(job.request.source)
    progress = Progress("simulate", len(volume.hu) * len(job.variants), "slices")

    def write(place: Path, reduction: Reduction) -> None:
        (folder / place).mkdir(exist_ok=True)
        settings = json.dumps(reduction.record, sort_keys=True)
        key = hashlib.sha256(f"{volume.key} {settings}".encode()).hexdigest()[: len(volume.key)]
        provenance = {**volume.provenance, "source_key": volume.key, PROVENANCE_KEY: reduction.record}
        write_case(folder / place, replace(volume, hu=reduction.hu, key=key, provenance=provenance))

    job.each_dose(volume, "", progress.advance, write)
    progress.finish()
    return Partners(tuple(job.variants), {}, 1)


def _simulate_dicom(job: _Job, folder: Path) -> Partners:
    found = discover_all(job.request.source, job.request.threads, without=job.request.out)
    for reason, count in found.skipped_by_reason().items():
        warn(f"{count} files skipped: {reason}")
    slices = sum(len(series.slices) for series in found.series)
    progress = Progress("simulate", slices * len(job.variants), "slices")
    written: list[Path] = []
    refused: dict[str, InputError] = {}
    for series in found.series:
        first = progress.done
        try:
            written += _simulate_series(job, folder, series, progress)
        except InputError as error:
            if len(found.series) == 1 or isinstance(error, ReadError):
                raise
            warn(f"not simulated: {error}")
            refused[series.key] = error
            _take_back(job, folder, series)
            progress.advance(first + len(series.slices) * len(job.variants) - progress.done)
    progress.finish()
    return Partners(tuple(written), refused, len(found.series))


def _simulate_series(job: _Job, folder: Path, series: Series, progress: Progress) -> list[Path]:
    header = read_source_header(series.slices[0].path)
    if header.refusal:
        raise InputError(f"series {series.key}", header.refusal, "give the scan that it was made from")
    relative = _relative_folder(job.request.source, series)

    def write(place: Path, reduction: Reduction) -> None:
        target = folder / place / relative
        target.mkdir(parents=True, exist_ok=True)
        derivation = _derivation(reduction.record, job.stamp)
        write_derived_series(series, reduction.hu, target, derivation, threads=job.request.threads)

    job.each_dose(read_volume(series, job.request.threads), header.reconstruction, progress.advance, write)
    return [place / relative for place in job.variants]


def _take_back(job: _Job, folder: Path, series: Series) -> None:
    """Remove what was written of a series that failed on the way."""
    relative = _relative_folder(job.request.source, series)
    for place in job.variants:
        job.records.get(place, {}).pop(series.key, None)
        for name in derived_names(series):
            (folder / place / relative / name).unlink(missing_ok=True)


def _relative_folder(source: Path, series: Series) -> Path:
    """Return the folder of `series` relative to the input; the input itself for a single file or an archive."""
    common = Path(os.path.commonpath([image.path.parent.absolute() for image in series.slices]))
    root = source.absolute()
    return common.relative_to(root) if common.is_relative_to(root) else Path()


def _derivation(record: dict[str, Any], stamp: datetime) -> Derivation:
    """Return how the images were made; the description holds all that changes pixels of a fixed dose."""
    settings = json.dumps(record, sort_keys=True)
    brief = {name: value for name, value in record.items() if name not in _NOT_IN_HEADER and value is not None}
    dose = "a random share" if record["dose"] is None else f"{record['dose']:.4g}"
    return Derivation(
        description=f"simulated reduced dose: {dose} of the source's dose, noise inserted by filtered back-projection, "
        f"ldctpipe {__version__}; {json.dumps(brief, sort_keys=True, separators=(',', ':'))}",
        code_value=DOSE_REDUCTION_CODE,
        code_meaning="Simulated reduced dose",
        series_suffix=f"ldctpipe dose {dose}",
        equipment_model="ldctpipe simulate",
        software_version=__version__,
        weights_sha256=None,
        settings=settings,
        run_time=stamp,
    )

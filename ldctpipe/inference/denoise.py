"""From a folder of scans and a bundle to derived DICOM series or NIfTI."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ldctpipe import __version__
from ldctpipe.dicom.derivation import Derivation
from ldctpipe.dicom.discovery import Discovery, discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series
from ldctpipe.dicom.writing import write_derived_series
from ldctpipe.errors import InputError
from ldctpipe.files import new_folder
from ldctpipe.inference.denoiser import Denoiser, pick_device
from ldctpipe.inference.manifest import (
    Job,
    SeriesOutcome,
    is_done,
    refuse_other_job,
    run_time,
    write_manifest,
)
from ldctpipe.progress import Progress, say, warn
from ldctpipe.recipes.bundle import read_bundle
from ldctpipe.volumes.nifti import is_nifti, read_nifti, write_nifti


@dataclass(frozen=True)
class DenoiseRequest:
    """What `ldctpipe denoise` was asked for."""

    input: Path
    out: Path
    model: Path
    blend: float = 1.0
    device: str = "auto"
    threads: int | None = None
    overwrite: bool = False
    keep_private: bool = False


@dataclass(frozen=True)
class DenoiseResult:
    """What came of it, over all series, and how many files were in none."""

    outcomes: tuple[SeriesOutcome, ...]
    skipped: dict[str, int]

    @property
    def refused(self) -> list[SeriesOutcome]:
        """The series that could not be denoised."""
        return [outcome for outcome in self.outcomes if outcome.state == "refused"]


def denoise(request: DenoiseRequest) -> DenoiseResult:
    """Denoise every CT series of the input and return what became of each.

    One patient's series go into `out` itself, several patients' into a folder each; a folder appears when all that is
    in it is done. What an earlier run of the same job finished is left as it is. Raises `InputError` when there is
    nothing to denoise, or when `out` holds something else.
    """
    bundle = read_bundle(request.model)
    device = pick_device(request.device, request.threads)
    job = Job(bundle, request.blend, run_time())
    if is_nifti(request.input):
        return _denoise_nifti(request, Denoiser(bundle, device))
    discovery = discover(request.input, request.threads)
    patients = _by_patient(discovery)
    folders = {key: request.out if len(patients) == 1 else request.out / key for key in patients}
    pending = _pending(request, job, patients, folders)
    outcomes = [
        SeriesOutcome(each.key, "done before", len(each.slices))
        for key, series in patients.items()
        for each in series
        if key not in pending
    ]
    if outcomes:
        say(f"{request.out}: {len(outcomes)} series are there already from the same job")
    if pending:
        denoiser = Denoiser(bundle, device)
        progress = Progress("denoising", sum(len(s.slices) for key in pending for s in patients[key]), "slices")
        for key in pending:
            outcomes += _denoise_patient(request, job, denoiser, patients[key], folders[key], discovery, progress)
        progress.finish()
    return DenoiseResult(tuple(outcomes), discovery.skipped_by_reason())


def _by_patient(discovery: Discovery) -> dict[str, list[Series]]:
    ordered = sorted(discovery.series, key=lambda series: (series.patient_key, series.key))
    return {key: list(group) for key, group in groupby(ordered, key=lambda series: series.patient_key)}


def _pending(
    request: DenoiseRequest, job: Job, patients: dict[str, list[Series]], folders: dict[str, Path]
) -> list[str]:
    pending = [key for key, series in patients.items() if not is_done(folders[key], job, {s.key for s in series})]
    if request.overwrite:
        return list(patients)
    for key in pending:
        refuse_other_job(folders[key])
    return pending


def _denoise_patient(
    request: DenoiseRequest,
    job: Job,
    denoiser: Denoiser,
    series: list[Series],
    target: Path,
    discovery: Discovery,
    progress: Progress,
) -> list[SeriesOutcome]:
    outcomes: list[SeriesOutcome] = []
    try:
        with new_folder(target, overwrite=request.overwrite) as folder:
            outcomes += [_denoise_series(request, job, denoiser, each, folder, progress) for each in series]
            if all(outcome.state == "refused" for outcome in outcomes):
                raise _NothingDenoised
            write_manifest(folder, job, outcomes, discovery.skipped_by_reason())
    except _NothingDenoised:
        pass
    return outcomes


class _NothingDenoised(Exception):
    """Every series of a patient was refused: no folder should appear for it."""


def _denoise_series(
    request: DenoiseRequest, job: Job, denoiser: Denoiser, series: Series, folder: Path, progress: Progress
) -> SeriesOutcome:
    started = time.monotonic()
    try:
        if series.denoising_refusal:
            raise InputError(f"series {series.key}", series.denoising_refusal, "give its source series")
        volume = read_volume(series, request.threads)
    except InputError as error:
        warn(f"not denoised: {error}")
        progress.advance(len(series.slices))
        return SeriesOutcome(series.key, "refused", len(series.slices), reason=error.fault)
    for warning in series.warnings:
        warn(f"series {series.key}: {warning}")
    hu = denoiser.denoise(volume, request.blend, progress.advance)
    derivation = _derivation(job)
    paths = write_derived_series(
        series, hu, folder, derivation, keep_private=request.keep_private, threads=request.threads
    )
    names = tuple(path.name for path in paths)
    seconds = time.monotonic() - started
    return SeriesOutcome(series.key, "denoised", len(names), None, seconds, names, series.warnings)


def _derivation(job: Job) -> Derivation:
    bundle = job.bundle
    notes = " ".join(bundle.card.get("notes", []))
    return Derivation(
        description=f"Noise reduction by ldctpipe {__version__}, model {bundle.name}, {job.settings}. {notes}".strip(),
        code_value="NOISERED",
        code_meaning="Noise reduction",
        series_suffix=f"ldctpipe {bundle.name}",
        equipment_model=f"ldctpipe {bundle.name}",
        software_version=__version__,
        weights_sha256=bundle.weights_sha256,
        settings=job.settings,
        run_time=job.run_time,
    )


def _denoise_nifti(request: DenoiseRequest, denoiser: Denoiser) -> DenoiseResult:
    target = request.out if is_nifti(request.out) else request.out / request.input.name
    if target.exists() and not request.overwrite:
        raise InputError(target, "is there already", "name another output or add --overwrite")
    started = time.monotonic()
    volume = read_nifti(request.input)
    progress = Progress("denoising", len(volume.hu), "slices")
    write_nifti(target, denoiser.denoise(volume, request.blend, progress.advance), volume.affine)
    progress.finish()
    seconds = time.monotonic() - started
    return DenoiseResult((SeriesOutcome(volume.key, "denoised", len(volume.hu), None, seconds),), {})

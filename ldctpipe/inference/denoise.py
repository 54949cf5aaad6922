"""From a folder of scans and a bundle to derived DICOM series or NIfTI."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ldctpipe.data.scans import nifti_files
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.grouping import series_of
from ldctpipe.dicom.headers import header_of
from ldctpipe.dicom.pacs import check
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series
from ldctpipe.dicom.writing import derived_names, write_derived_series
from ldctpipe.errors import InputError
from ldctpipe.files import new_folder
from ldctpipe.inference.delivery import deliver
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.inference.job import Job, OutputForm
from ldctpipe.inference.manifest import (
    DENOISED,
    DONE_BEFORE,
    MANIFEST,
    REFUSED,
    SeriesOutcome,
    digests,
    own_files,
    write_manifest,
)
from ldctpipe.inference.model import Model
from ldctpipe.inference.nifti_files import denoise_nifti, require_form_of_nifti
from ldctpipe.inference.patients import PatientFolder, folder_of_series, patient_folders, source_digest
from ldctpipe.progress import Progress, say, warn
from ldctpipe.provenance import run_time
from ldctpipe.volumes.case import is_case
from ldctpipe.volumes.nifti import write_nifti


@dataclass(frozen=True)
class DenoiseRequest:
    """What `ldctpipe denoise` was asked for; `push` is the DICOMweb address of a PACS that gets the results too.

    With `each_series`, a patient's folder is there from the first series on and gets each other when it is done.
    """

    input: Path
    out: Path
    model: Path
    blend: float = 1.0
    device: str = "auto"
    threads: int | None = None
    overwrite: bool = False
    form: OutputForm = field(default_factory=OutputForm)
    push: str | None = None
    each_series: bool = False


@dataclass(frozen=True)
class DenoiseResult:
    """What came of it, over all series, the folder for each by its key, and how many files were in none."""

    outcomes: tuple[SeriesOutcome, ...]
    skipped: dict[str, int]
    folders: dict[str, Path]

    @property
    def refused(self) -> list[SeriesOutcome]:
        """The series that could not be denoised."""
        return [outcome for outcome in self.outcomes if outcome.state == REFUSED]


def denoise(request: DenoiseRequest, model: Model | None = None) -> DenoiseResult:
    """Denoise every CT series of the input and return what became of each; `model` is the request's, if read before.

    One patient's series go into `out` itself, several patients' into a folder each; a folder appears when all that is
    in it is done. All is sent to the PACS at the end where one is named. What an earlier run of the same job finished,
    or sent, is left as it is. Raises `InputError` when there is nothing to denoise, or when `out` holds something else.
    """
    model = model or Model(request.model, request.device, request.threads)
    job = Job(model.bundle, request.blend, run_time(), request.form)
    if files := nifti_files(request.input):
        require_form_of_nifti(request.form, request.push)
        overwrite = request.overwrite
        outcomes = [denoise_nifti(file, request.out, job, model.denoiser, overwrite=overwrite) for file in files]
        return DenoiseResult(tuple(outcomes), {}, {outcome.key: request.out for outcome in outcomes})
    _refuse_cases(request.input)
    if request.push:
        check(request.push)  # a wrong password must not show only after hours of work
    discovery = discover(request.input, request.threads, without=request.out)
    skipped = discovery.skipped_by_reason()
    series = _without_results(discovery.series, skipped)
    patients = patient_folders(series, request.out, job, overwrite=request.overwrite)
    finished = [patient for patient in patients if patient.is_finished]
    outcomes = [_as_done_before(outcome) for patient in finished for outcome in patient.kept.values()]
    if outcomes:
        say(f"{request.out}: {len(outcomes)} series are there already from the same job")
    if pending := [patient for patient in patients if not patient.is_finished]:
        progress = Progress("denoising", sum(patient.pending_slices for patient in pending), "slices")
        work = _denoise_each_series if request.each_series else _denoise_patient
        for patient in pending:
            outcomes += work(request, job, model.denoiser, patient, skipped, progress)
        progress.finish()
    if request.push:
        deliver([patient.target / MANIFEST for patient in patients], request.push)
    folders = {job.form.published(one).key: patient.target for patient in patients for one in patient.series}
    return DenoiseResult(tuple(outcomes), skipped, folders)


def _without_results(series: Sequence[Series], skipped: dict[str, int]) -> Sequence[Series]:
    """Return what is to be denoised, and count the results of earlier runs beside it; where all are, they are told."""
    sources = [one for one in series if not one.denoising_refusal]
    for one in series if sources else ():
        if reason := one.denoising_refusal:
            skipped[reason] = skipped.get(reason, 0) + len(one.slices)
    return sources or series


def _refuse_cases(source: Path) -> None:
    if source.is_dir() and (is_case(source) or any(map(is_case, source.iterdir()))):
        fault = "holds ingested cases, which have lost the headers that derived DICOM needs"
        raise InputError(source, fault, "give the DICOM that was ingested, or the volume.nii of a case")


def _as_done_before(outcome: SeriesOutcome) -> SeriesOutcome:
    return replace(outcome, state=DONE_BEFORE) if outcome.state == DENOISED else outcome


def _denoise_each_series(
    request: DenoiseRequest,
    job: Job,
    denoiser: Denoiser,
    patient: PatientFolder,
    skipped: dict[str, int],
    progress: Progress,
) -> list[SeriesOutcome]:
    """Add to a patient's folder each series that is done."""
    outcomes: list[SeriesOutcome] = []
    for part in _parts(patient, job, outcomes):
        if part.is_finished:
            outcomes += map(_as_done_before, part.kept.values())
        else:
            outcomes += _denoise_patient(request, job, denoiser, part, skipped, progress)
    return outcomes


def _parts(patient: PatientFolder, job: Job, outcomes: Sequence[SeriesOutcome]) -> Iterator[PatientFolder]:
    """Yield the folder with one series after the other; `outcomes` grows meanwhile, and what was refused stays told."""
    for series in patient.series:
        is_there = patient.kept or any(outcome.state != REFUSED for outcome in outcomes)
        # until the first is done, what another job left may be in the way, which `patient` knows how to replace
        part = folder_of_series(series, patient.target, job) if is_there else replace(patient, series=(series,))
        told = {outcome.key for outcome in part.others}
        refused = tuple(one for one in outcomes if one.state == REFUSED and one.key not in told)
        yield replace(part, others=(*part.others, *refused))


def _denoise_patient(
    request: DenoiseRequest,
    job: Job,
    denoiser: Denoiser,
    patient: PatientFolder,
    skipped: dict[str, int],
    progress: Progress,
) -> list[SeriesOutcome]:
    """Make a patient's folder: what an earlier run finished stays, the rest is denoised."""
    job = replace(job, run_time=patient.run_time or job.run_time)
    outcomes: list[SeriesOutcome] = []
    first = patient.series[0]
    identity = {"patient": job.form.published(first).patient_key}
    if job.form.keep_identifiers:
        identity["patient_id"] = first.patient_id
    try:
        inputs = (request.input, request.model)
        staying = {name for outcome in (*patient.others, *patient.kept.values()) for name in outcome.files}
        altered = request.overwrite and not request.each_series
        own = partial(own_files, kept=staying, altered=altered)
        with new_folder(patient.target, overwrite=patient.replaces, inputs=inputs, own=own) as folder:
            for series in patient.series:
                kept = patient.kept.get(job.form.published(series).key)
                outcomes.append(kept or _denoise_series(request, job, denoiser, series, folder, progress))
            if all(outcome.state == REFUSED for outcome in (*patient.others, *outcomes)):
                raise _NothingDenoised
            write_manifest(folder / MANIFEST, job, [*patient.others, *outcomes], skipped, **identity)
    except _NothingDenoised:
        pass
    return [_as_done_before(one) if one.key in patient.kept else one for one in outcomes]


class _NothingDenoised(Exception):
    """Every series of a patient was refused: no folder should appear for it."""


def _denoise_series(
    request: DenoiseRequest, job: Job, denoiser: Denoiser, series: Series, folder: Path, progress: Progress
) -> SeriesOutcome:
    started, first = time.monotonic(), progress.done
    named, source = job.form.published(series), source_digest(series, job.form)
    try:
        if series.denoising_refusal:
            raise InputError(None, series.denoising_refusal, "give its source series")
        files = _write_denoised(request, job, denoiser, series, folder, progress)
    except InputError as error:
        warn(f"{_place(series, named, error)} not denoised: {error.fault}; {error.remedy}")
        for name in (*derived_names(named), _nifti_name(named)):
            (folder / name).unlink(missing_ok=True)
        progress.advance(first + len(series.slices) - progress.done)
        return SeriesOutcome(named.key, REFUSED, len(series.slices), source, reason=error.fault)
    for warning in series.warnings:
        warn(f"series {named.key}: {warning}")
    seconds = time.monotonic() - started
    return SeriesOutcome(named.key, DENOISED, len(series.slices), source, None, seconds, files, series.warnings)


def _place(series: Series, named: Series, error: InputError) -> str:
    """The series by its key, and the slice at fault by its number: folders may be named after patients."""
    numbers = [number for number, image in enumerate(series.slices, 1) if image.path == error.path]
    return f"series {named.key}, slice {numbers[0]}" if numbers else f"series {named.key}"


def _write_denoised(
    request: DenoiseRequest, job: Job, denoiser: Denoiser, series: Series, folder: Path, progress: Progress
) -> dict[str, str]:
    volume = read_volume(series, request.threads)
    hu = denoiser.denoise(volume, request.blend, progress.advance)
    form = job.form
    paths = write_derived_series(
        series,
        hu,
        folder,
        job.derivation(),
        keep_private=form.keep_private,
        compression=form.compression,
        deidentifier=form.deidentifier,
        threads=request.threads,
    )
    if form.nifti:
        paths.append(_write_as_nifti(paths, folder / _nifti_name(form.published(series)), request.threads))
    return digests(paths)


def _write_as_nifti(derived: Sequence[Path], target: Path, threads: int | None) -> Path:
    """Write the HU that derived DICOM files hold, which are rounded and clipped as their bits demand."""
    (series,), _ = series_of(map(header_of, derived))
    volume = read_volume(series, threads)
    write_nifti(target, volume.hu, volume.affine)
    return target


def _nifti_name(series: Series) -> str:
    return f"{series.key}.nii.gz"

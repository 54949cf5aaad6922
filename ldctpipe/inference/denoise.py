"""From a folder of scans and a bundle to derived DICOM series or NIfTI."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ldctpipe.data.scans import nifti_files
from ldctpipe.dicom.discovery import Discovery, Skipped, nothing_usable, survey
from ldctpipe.dicom.grouping import series_of
from ldctpipe.dicom.headers import header_of
from ldctpipe.dicom.pacs import check
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series
from ldctpipe.dicom.writing import derived_names, write_derived_series
from ldctpipe.errors import InputError, ReadError, UsageError, reading
from ldctpipe.files import new_folder, real_path
from ldctpipe.inference.delivery import deliver
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.inference.job import Job, OutputForm
from ldctpipe.inference.manifest import (
    DENOISED,
    DONE_BEFORE,
    FAILED,
    MANIFEST,
    REFUSED,
    SeriesOutcome,
    digests,
    has_results,
    name_below,
    own_files,
    write_manifest,
)
from ldctpipe.inference.model import Model
from ldctpipe.inference.nifti_files import denoise_nifti, denoise_nifti_files, require_form_of_nifti
from ldctpipe.inference.patients import PatientFolder, folder_of_series, patient_folders, source_digest
from ldctpipe.inference.spacing_doubt import spacing_doubts
from ldctpipe.progress import Progress, say, warn
from ldctpipe.provenance import run_time
from ldctpipe.volumes.case import is_case
from ldctpipe.volumes.nifti import write_nifti

_NIFTI_BESIDE_DICOM = "a NIfTI file beside DICOM, which is denoised instead"


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
    """The outcomes of all series, the folder for each by its key, and how many files were in none.

    `unread` are files that can't be read now and may belong to any series; if there are any, no outcome is final.
    """

    outcomes: tuple[SeriesOutcome, ...]
    skipped: dict[str, int]
    folders: dict[str, Path]
    unread: tuple[Skipped, ...] = ()

    @property
    def refused(self) -> list[SeriesOutcome]:
        """The series that can't be denoised."""
        return [outcome for outcome in self.outcomes if outcome.state == REFUSED]

    @property
    def failed(self) -> list[SeriesOutcome]:
        """The series that another try may denoise."""
        return [outcome for outcome in self.outcomes if outcome.state == FAILED]


def denoise(request: DenoiseRequest, model: Model | None = None) -> DenoiseResult:
    """Denoise every CT series of the input and return what became of each; `model` is the request's, if read before.

    One patient's series go into `out` itself, several patients' into a folder each; a folder appears when all that is
    in it is done, with the manifest alone if nothing is. If a PACS is named, all is sent at the end, unless something
    can't be read: no series that may lack slices should get there. What an earlier run of the same job finished, or
    sent, is not repeated. Of a folder with DICOM and NIfTI the DICOM is denoised. Raises `InputError` when there is
    nothing to denoise, or when `out` holds something else, and `ReadError` when there may be something that can't be
    read now.
    """
    model = model or Model(request.model, request.device, request.threads)
    job = Job(model.bundle, request.blend, run_time(), request.form)
    with reading(request.input):
        images = nifti_files(request.input)
        if not images:
            _refuse_cases(request.input)
        discovery = survey(request.input, request.threads, without=request.out)
    if images and not discovery.series:
        return _denoise_images(request, job, model, images, discovery)
    if not discovery.series:
        raise nothing_usable(request.input, discovery.skipped)
    return _denoise_dicom(request, job, model, _with_images_left_out(discovery, images))


def _refuse_output_over_input(request: DenoiseRequest) -> None:
    """Raise before any other check of `out`: --overwrite is no remedy if `out` is the input."""
    place = real_path(request.out)
    for source in (request.input, request.model):
        if real_path(source).is_relative_to(place):
            fault = f"is the input {source} or holds it, and the results would replace it"
            raise UsageError(request.out, fault, "name another output folder")


def _denoise_images(
    request: DenoiseRequest, job: Job, model: Model, images: Sequence[Path], discovery: Discovery
) -> DenoiseResult:
    require_form_of_nifti(request.form, request.push)
    if request.input.is_file():
        outcomes = [denoise_nifti(request.input, request.out, job, model.denoiser, overwrite=request.overwrite)]
    else:
        outcomes = denoise_nifti_files(images, request.out, job, model.denoiser, overwrite=request.overwrite)
    beside = replace(discovery, skipped=tuple(skip for skip in discovery.skipped if skip.path not in images))
    folders = {outcome.key: request.out for outcome in outcomes}
    return DenoiseResult(tuple(outcomes), beside.skipped_by_reason(), folders, beside.unread)


def _with_images_left_out(discovery: Discovery, images: Sequence[Path]) -> Discovery:
    """Skip NIfTI in a folder of DICOM: it is a mask or a result more often than a scan of its own."""
    left_out = tuple(Skipped(image, _NIFTI_BESIDE_DICOM, "give it on its own", is_fault=False) for image in images)
    known = {skip.path for skip in discovery.skipped}
    return replace(discovery, skipped=(*discovery.skipped, *(skip for skip in left_out if skip.path not in known)))


def _denoise_dicom(request: DenoiseRequest, job: Job, model: Model, discovery: Discovery) -> DenoiseResult:
    _refuse_output_over_input(request)
    if request.push:
        check(request.push)  # a wrong password must not show only after hours of work
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
    if request.push and not discovery.unread:
        deliver([patient.target / MANIFEST for patient in patients], request.push)
    elif request.push:
        warn(f"nothing sent to {request.push}: series may lack slices, because some files can't be read")
    folders = {job.form.published(one).key: patient.target for patient in patients for one in patient.series}
    return DenoiseResult(tuple(outcomes), skipped, folders, discovery.unread)


def _without_results(series: Sequence[Series], skipped: dict[str, int]) -> Sequence[Series]:
    """Return the series to denoise, and count results of earlier runs among them; all, if there are only results."""
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
    """Yield the folder with one series after the other; `outcomes` grows meanwhile and keeps what is missing."""
    for series in patient.series:
        is_there = patient.kept or any(not outcome.is_missing for outcome in outcomes)
        # until the first is done, what another job left may be in the way, which `patient` knows how to replace
        part = folder_of_series(series, patient.target, job) if is_there else replace(patient, series=(series,))
        told = {outcome.key for outcome in part.others}
        missing = tuple(one for one in outcomes if one.is_missing and one.key not in told)
        yield replace(part, others=(*part.others, *missing))


def _denoise_patient(
    request: DenoiseRequest,
    job: Job,
    denoiser: Denoiser,
    patient: PatientFolder,
    skipped: dict[str, int],
    progress: Progress,
) -> list[SeriesOutcome]:
    """Make a patient's folder: results of an earlier run stay, the rest is denoised."""
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
        with new_folder(patient.target, overwrite=patient.replaces, inputs=inputs, own=own, withdraw=altered) as folder:
            for series in patient.series:
                kept = patient.kept.get(job.form.published(series).key)
                outcomes.append(kept or _denoise_series(request, job, denoiser, series, folder, progress))
            is_nothing = all(outcome.is_missing for outcome in (*patient.others, *outcomes))
            if is_nothing and (request.each_series or has_results(patient.target)):
                raise _NothingDenoised
            write_manifest(folder / MANIFEST, job, [*patient.others, *outcomes], skipped, **identity)
    except _NothingDenoised:
        pass
    return [_as_done_before(one) if one.key in patient.kept else one for one in outcomes]


class _NothingDenoised(Exception):
    """No series of a patient could be denoised: its folder stays as it is, and the cohort's record gives the reason."""


def _denoise_series(
    request: DenoiseRequest, job: Job, denoiser: Denoiser, series: Series, folder: Path, progress: Progress
) -> SeriesOutcome:
    started, first = time.monotonic(), progress.done
    named, source = job.form.published(series), source_digest(series, job.form)
    known = _known_by(series, request)
    try:
        if series.denoising_refusal and not series.refusal:  # of which reading says what to do
            raise InputError(None, series.denoising_refusal, "give its source series")
        files, warnings = _write_denoised(request, job, denoiser, series, folder, progress)
    except InputError as error:
        warn(f"{_place(series, named, error)} not denoised: {error.fault}; {error.remedy}")
        for name in (*derived_names(named), _nifti_name(named)):
            (folder / name).unlink(missing_ok=True)
        progress.advance(first + len(series.slices) - progress.done)
        state = FAILED if isinstance(error, ReadError) else REFUSED
        return SeriesOutcome(named.key, state, len(series.slices), source, error.fault, **known)
    for warning in warnings:
        warn(f"series {named.key}: {warning}")
    seconds = time.monotonic() - started
    done = SeriesOutcome(named.key, DENOISED, len(series.slices), source, None, seconds, files, warnings)
    return replace(done, **known)


def _known_by(series: Series, request: DenoiseRequest) -> dict[str, Any]:
    """The attributes by which a person recognizes a series; empty with de-identification."""
    if request.form.deidentifier:
        return {}
    file = name_below(request.input, series.slices[0].path)
    return {"number": series.number, "description": series.description, "file": file}


def _place(series: Series, named: Series, error: InputError) -> str:
    """The series by its key, and the slice at fault by its number: folders may be named after patients."""
    numbers = [number for number, image in enumerate(series.slices, 1) if image.path == error.path]
    return f"series {named.key}, slice {numbers[0]}" if numbers else f"series {named.key}"


def _write_denoised(
    request: DenoiseRequest, job: Job, denoiser: Denoiser, series: Series, folder: Path, progress: Progress
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Write the results of one series, and return the digests of its files and the warnings."""
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
    return digests(paths), (*volume.warnings, *spacing_doubts(job.bundle, volume))


def _write_as_nifti(derived: Sequence[Path], target: Path, threads: int | None) -> Path:
    """Write the HU that derived DICOM files hold, which are rounded and clipped as their bits demand."""
    (series,), _ = series_of(map(header_of, derived))
    volume = read_volume(series, threads)
    write_nifti(target, volume.hu, volume.affine)
    return target


def _nifti_name(series: Series) -> str:
    return f"{series.key}.nii.gz"

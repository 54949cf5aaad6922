"""From a folder of scans and a bundle to derived DICOM series or NIfTI."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import torch

from ldctpipe.devices import pick_device
from ldctpipe.dicom.discovery import Discovery, discover
from ldctpipe.dicom.grouping import series_of
from ldctpipe.dicom.headers import header_of
from ldctpipe.dicom.pacs import check
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series
from ldctpipe.dicom.writing import derived_names, write_derived_series
from ldctpipe.errors import InputError, UsageError
from ldctpipe.files import new_folder, safe_name
from ldctpipe.inference.delivery import deliver
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.inference.job import Job, OutputForm
from ldctpipe.inference.manifest import MANIFEST, SeriesOutcome, Standing, standing, write_manifest
from ldctpipe.progress import Progress, say, warn
from ldctpipe.provenance import run_time
from ldctpipe.recipes.bundle import read_bundle
from ldctpipe.volumes.nifti import is_nifti, read_nifti, write_nifti


@dataclass(frozen=True)
class DenoiseRequest:
    """What `ldctpipe denoise` was asked for; `push` is the DICOMweb address of a PACS that gets the results too."""

    input: Path
    out: Path
    model: Path
    blend: float = 1.0
    device: str = "auto"
    threads: int | None = None
    overwrite: bool = False
    form: OutputForm = field(default_factory=OutputForm)
    push: str | None = None


@dataclass(frozen=True)
class DenoiseResult:
    """What came of it, over all series, and how many files were in none."""

    outcomes: tuple[SeriesOutcome, ...]
    skipped: dict[str, int]

    @property
    def refused(self) -> list[SeriesOutcome]:
        """The series that could not be denoised."""
        return [outcome for outcome in self.outcomes if outcome.state == "refused"]


@dataclass(frozen=True)
class _Patient:
    """The series of the input that go into one output folder, and what lies there already."""

    series: tuple[Series, ...]
    target: Path
    standing: Standing


def denoise(request: DenoiseRequest) -> DenoiseResult:
    """Denoise every CT series of the input and return what became of each.

    One patient's series go into `out` itself, several patients' into a folder each; a folder appears when all that is
    in it is done, and is then sent to the PACS where one is named. What an earlier run of the same job finished, or
    sent, is left as it is. Raises `InputError` when there is nothing to denoise, or when `out` holds something else.
    """
    bundle = read_bundle(request.model)
    device = pick_device(request.device, request.threads)
    job = Job(bundle, request.blend, run_time(), request.form)
    if is_nifti(request.input):
        return _denoise_nifti(request, job, device)
    if request.push:
        check(request.push)  # a wrong password must not show only after hours of work
    discovery = discover(request.input, request.threads)
    skipped = discovery.skipped_by_reason()
    patients = _patients(request, job, discovery)
    pending = [patient for patient in patients if request.overwrite or patient.standing is not Standing.DONE]
    outcomes = [
        SeriesOutcome(job.form.published(series).key, "done before", len(series.slices))
        for patient in patients
        if patient not in pending
        for series in patient.series
    ]
    if outcomes:
        say(f"{request.out}: {len(outcomes)} series are there already from the same job")
    if pending:
        denoiser = Denoiser(bundle, device)
        slices = sum(len(series.slices) for patient in pending for series in patient.series)
        progress = Progress("denoising", slices, "slices")
        for patient in pending:
            outcomes += _denoise_patient(request, job, denoiser, patient, skipped, progress)
        progress.finish()
    if request.push:
        deliver([patient.target / MANIFEST for patient in patients], request.push)
    return DenoiseResult(tuple(outcomes), skipped)


def _patients(request: DenoiseRequest, job: Job, discovery: Discovery) -> list[_Patient]:
    """Return the patients with their folders; raises `InputError` where a folder holds something else."""
    ordered = sorted(discovery.series, key=lambda series: (series.patient_key, series.key))
    groups = [tuple(group) for _, group in groupby(ordered, key=lambda series: series.patient_key)]
    patients = []
    for series in groups:
        target = request.out if len(groups) == 1 else request.out / _folder_name(series[0], request.form)
        wanted = {job.form.published(each).key: len(each.slices) for each in series}
        patients.append(_Patient(series, target, standing(target / MANIFEST, job, wanted)))
    foreign = [patient.target for patient in patients if patient.standing is Standing.FOREIGN]
    if len(groups) > 1 and request.out.exists():
        foreign += [path for path in request.out.iterdir() if not (path / MANIFEST).is_file()]
    if foreign and not request.overwrite:
        fault = "the output folder already holds other files"
        raise InputError(request.out, fault, "name another one or add --overwrite")
    return patients


def _folder_name(series: Series, form: OutputForm) -> str:
    """The patient's key; with its PatientID before it where identifiers are wanted, which alone may not be unique."""
    key = form.published(series).patient_key
    return f"{safe_name(series.patient_id)}-{key}" if form.keep_identifiers else key


def _denoise_patient(
    request: DenoiseRequest,
    job: Job,
    denoiser: Denoiser,
    patient: _Patient,
    skipped: dict[str, int],
    progress: Progress,
) -> list[SeriesOutcome]:
    outcomes: list[SeriesOutcome] = []
    replaces = request.overwrite or patient.standing is Standing.UNFINISHED
    identity = {"patient_id": patient.series[0].patient_id} if request.form.keep_identifiers else {}
    try:
        with new_folder(patient.target, overwrite=replaces, inputs=(request.input, request.model)) as folder:
            for series in patient.series:
                outcomes.append(_denoise_series(request, job, denoiser, series, folder, progress))
            if all(outcome.state == "refused" for outcome in outcomes):
                raise _NothingDenoised
            write_manifest(folder / MANIFEST, job, outcomes, skipped, **identity)
    except _NothingDenoised:
        pass
    return outcomes


class _NothingDenoised(Exception):
    """Every series of a patient was refused: no folder should appear for it."""


def _denoise_series(
    request: DenoiseRequest, job: Job, denoiser: Denoiser, series: Series, folder: Path, progress: Progress
) -> SeriesOutcome:
    started, first = time.monotonic(), progress.done
    named = job.form.published(series)
    try:
        if series.denoising_refusal:
            raise InputError(f"series {named.key}", series.denoising_refusal, "give its source series")
        names = _write_denoised(request, job, denoiser, series, folder, progress)
    except InputError as error:
        warn(f"not denoised: {error}")
        for name in (*derived_names(named), _nifti_name(named)):
            (folder / name).unlink(missing_ok=True)
        progress.advance(first + len(series.slices) - progress.done)
        return SeriesOutcome(named.key, "refused", len(series.slices), reason=error.fault)
    for warning in series.warnings:
        warn(f"series {named.key}: {warning}")
    seconds = time.monotonic() - started
    return SeriesOutcome(named.key, "denoised", len(series.slices), None, seconds, names, series.warnings)


def _write_denoised(
    request: DenoiseRequest, job: Job, denoiser: Denoiser, series: Series, folder: Path, progress: Progress
) -> tuple[str, ...]:
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
        paths.append(_write_as_nifti(paths, folder / _nifti_name(form.published(series))))
    return tuple(path.name for path in paths)


def _write_as_nifti(derived: Sequence[Path], target: Path) -> Path:
    """Write the HU that derived DICOM files hold, which are rounded and clipped as their bits demand."""
    (series,), _ = series_of(map(header_of, derived))
    volume = read_volume(series)
    write_nifti(target, volume.hu, volume.affine)
    return target


def _nifti_name(series: Series) -> str:
    return f"{series.key}.nii.gz"


def _denoise_nifti(request: DenoiseRequest, job: Job, device: torch.device) -> DenoiseResult:
    """Denoise one NIfTI file into another; raises `UsageError` where only DICOM can be what was asked for."""
    if request.push:
        raise UsageError(request.input, "a NIfTI file can't be sent to a PACS", "leave --push out")
    target = request.out if is_nifti(request.out) else request.out / request.input.name
    manifest = target.with_name(f"{target.name}.{MANIFEST}")
    started = time.monotonic()
    volume = read_nifti(request.input)
    found = standing(manifest, job, {volume.key: len(volume.hu)})
    if found is Standing.DONE and target.exists() and not request.overwrite:
        return DenoiseResult((SeriesOutcome(volume.key, "done before", len(volume.hu)),), {})
    if target.exists() and (target.samefile(request.input) or not request.overwrite):
        raise InputError(target, "is there already", "name another output or add --overwrite")
    progress = Progress("denoising", len(volume.hu), "slices")
    hu = Denoiser(job.bundle, device).denoise(volume, request.blend, progress.advance)
    write_nifti(target, hu, volume.affine, like=request.input)
    progress.finish()
    seconds = time.monotonic() - started
    outcome = SeriesOutcome(volume.key, "denoised", len(hu), None, seconds, (target.name,))
    write_manifest(manifest, job, [outcome], {})
    return DenoiseResult((outcome,), {})

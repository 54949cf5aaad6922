"""From a folder of scans and a bundle to derived DICOM series or NIfTI."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch

from ldctpipe import __version__
from ldctpipe.devices import pick_device
from ldctpipe.dicom.derivation import Derivation
from ldctpipe.dicom.discovery import Discovery, discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series
from ldctpipe.dicom.writing import derived_names, write_derived_series
from ldctpipe.errors import InputError
from ldctpipe.files import new_folder
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.inference.manifest import MANIFEST, Job, SeriesOutcome, Standing, standing, write_manifest
from ldctpipe.progress import Progress, say, warn
from ldctpipe.provenance import run_time
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


@dataclass(frozen=True)
class _Patient:
    """The series that go into one output folder, and what lies there already."""

    series: tuple[Series, ...]
    target: Path
    standing: Standing


def denoise(request: DenoiseRequest) -> DenoiseResult:
    """Denoise every CT series of the input and return what became of each.

    One patient's series go into `out` itself, several patients' into a folder each; a folder appears when all that is
    in it is done. What an earlier run of the same job finished is left as it is. Raises `InputError` when there is
    nothing to denoise, or when `out` holds something else.
    """
    bundle = read_bundle(request.model)
    device = pick_device(request.device, request.threads)
    job = Job(bundle, request.blend, request.keep_private, run_time())
    if is_nifti(request.input):
        return _denoise_nifti(request, job, device)
    discovery = discover(request.input, request.threads)
    skipped = discovery.skipped_by_reason()
    patients = _patients(request, job, discovery)
    pending = [patient for patient in patients if request.overwrite or patient.standing is not Standing.DONE]
    outcomes = [
        SeriesOutcome(series.key, "done before", len(series.slices))
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
    return DenoiseResult(tuple(outcomes), skipped)


def _patients(request: DenoiseRequest, job: Job, discovery: Discovery) -> list[_Patient]:
    """Return the patients with their folders; raises `InputError` where a folder holds something else."""
    ordered = sorted(discovery.series, key=lambda series: (series.patient_key, series.key))
    groups = {key: tuple(group) for key, group in groupby(ordered, key=lambda series: series.patient_key)}
    patients = []
    for key, series in groups.items():
        target = request.out if len(groups) == 1 else request.out / key
        wanted = {each.key: len(each.slices) for each in series}
        patients.append(_Patient(series, target, standing(target / MANIFEST, job, wanted)))
    foreign = [patient.target for patient in patients if patient.standing is Standing.FOREIGN]
    if len(groups) > 1 and request.out.exists():
        foreign += [path for path in request.out.iterdir() if not (path / MANIFEST).is_file()]
    if foreign and not request.overwrite:
        fault = "the output folder already holds other files"
        raise InputError(request.out, fault, "name another one or add --overwrite")
    return patients


def _denoise_patient(
    request: DenoiseRequest,
    job: Job,
    denoiser: Denoiser,
    patient: _Patient,
    skipped: dict[str, int],
    progress: Progress,
) -> list[SeriesOutcome]:
    outcomes: list[SeriesOutcome] = []
    replace = request.overwrite or patient.standing is Standing.UNFINISHED
    try:
        with new_folder(patient.target, overwrite=replace, inputs=(request.input, request.model)) as folder:
            for series in patient.series:
                outcomes.append(_denoise_series(request, job, denoiser, series, folder, progress))
            if all(outcome.state == "refused" for outcome in outcomes):
                raise _NothingDenoised
            write_manifest(folder / MANIFEST, job, outcomes, skipped)
    except _NothingDenoised:
        pass
    return outcomes


class _NothingDenoised(Exception):
    """Every series of a patient was refused: no folder should appear for it."""


def _denoise_series(
    request: DenoiseRequest, job: Job, denoiser: Denoiser, series: Series, folder: Path, progress: Progress
) -> SeriesOutcome:
    started, first = time.monotonic(), progress.done
    try:
        if series.denoising_refusal:
            raise InputError(f"series {series.key}", series.denoising_refusal, "give its source series")
        hu = denoiser.denoise(read_volume(series, request.threads), request.blend, progress.advance)
        paths = write_derived_series(
            series, hu, folder, _derivation(job), keep_private=request.keep_private, threads=request.threads
        )
    except InputError as error:
        warn(f"not denoised: {error}")
        for name in derived_names(series):
            (folder / name).unlink(missing_ok=True)
        progress.advance(first + len(series.slices) - progress.done)
        return SeriesOutcome(series.key, "refused", len(series.slices), reason=error.fault)
    for warning in series.warnings:
        warn(f"series {series.key}: {warning}")
    names = tuple(path.name for path in paths)
    return SeriesOutcome(series.key, "denoised", len(names), None, time.monotonic() - started, names, series.warnings)


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


def _denoise_nifti(request: DenoiseRequest, job: Job, device: torch.device) -> DenoiseResult:
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
    write_nifti(target, hu, volume.affine)
    progress.finish()
    seconds = time.monotonic() - started
    outcome = SeriesOutcome(volume.key, "denoised", len(hu), None, seconds, (target.name,))
    write_manifest(manifest, job, [outcome], {})
    return DenoiseResult((outcome,), {})

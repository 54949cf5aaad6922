"""NIfTI files denoised, one by one; each gets a manifest beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ldctpipe.dicom.series import KEY_DIGITS
from ldctpipe.errors import InputError, ReadError, UsageError
from ldctpipe.files import sha256_of_file, sha256_of_text
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
    earlier_run,
    is_manifest,
    name_below,
    series_in,
    write_manifest,
)
from ldctpipe.inference.spacing_doubt import spacing_doubts
from ldctpipe.merging import keep_aside
from ldctpipe.progress import Progress, warn
from ldctpipe.volumes.nifti import is_nifti, read_nifti, write_nifti


def require_form_of_nifti(form: OutputForm, push: str | None) -> None:
    """Raise `UsageError` for what only DICOM can be."""
    asked = {
        "--push": push is not None,
        "--compress": form.compression.value != "none",
        "--keep-private": form.keep_private,
        "--nifti": form.nifti,
        "--keep-identifiers": form.keep_identifiers,
    }
    if wrong := [name for name, is_set in asked.items() if is_set]:
        raise UsageError(None, f"{wrong[0]} is for DICOM and has no meaning for NIfTI", "leave it out")


def denoise_nifti_files(
    sources: Sequence[Path], out: Path, job: Job, denoiser: Denoiser, *, overwrite: bool
) -> list[SeriesOutcome]:
    """Denoise the files of a folder into the folder `out` and return the outcome of each, in their order.

    A file that is not CT in HU, or can't be read, doesn't stop the others; its manifest says why. Raises `UsageError`
    if `out` is the name of a file or a result would replace an input.
    """
    if is_nifti(out) and len(sources) > 1:
        raise UsageError(out, f"is one file for the results of {len(sources)} volumes", "name a folder")
    return [_outcome(source, out, job, denoiser, overwrite=overwrite) for source in sources]


def _outcome(source: Path, out: Path, job: Job, denoiser: Denoiser, *, overwrite: bool) -> SeriesOutcome:
    try:
        return denoise_nifti(source, out, job, denoiser, overwrite=overwrite)
    except UsageError:
        raise
    except InputError as error:
        key = _key_without_volume(source, job.form)
        warn(f"{key if job.form.deidentifier else source.name} not denoised: {error.fault}; {error.remedy}")
        target = _target(source, out, key, job.form)
        state = FAILED if isinstance(error, ReadError) or error.path == target else REFUSED
        outcome = SeriesOutcome(key, state, 0, sha256_of_text(key), error.fault, file=_name(source, job.form))
        if not target.exists():  # the manifest beside a result is that of the result
            target.parent.mkdir(parents=True, exist_ok=True)
            write_manifest(_manifest_beside(target), job, [outcome], {})
        return outcome


def _key_without_volume(source: Path, form: OutputForm) -> str:
    """The key that the file would have as a volume; for an unreadable file, a digest of its name."""
    try:
        return sha256_of_file(source)[:KEY_DIGITS]
    except OSError:
        told = ascii(source.name)
        return sha256_of_text(form.deidentifier.uid(told) if form.deidentifier else told)[:KEY_DIGITS]


def denoise_nifti(source: Path, out: Path, job: Job, denoiser: Denoiser, *, overwrite: bool) -> SeriesOutcome:
    """Denoise the file `source` to `out`, a NIfTI file name or a folder, and return what became of it.

    In a folder the result has the source's name, or its key where it is to be de-identified. Raises `InputError` for a
    volume that can't be HU and for a file at the target that the same job didn't write, and `UsageError` where the
    target is the source.
    """
    started = time.monotonic()
    volume = read_nifti(source)
    target = _target(source, out, volume.key, job.form)
    manifest = _manifest_beside(target)
    earlier = earlier_run(manifest, job)
    if earlier and any(one.is_missing for one in earlier.outcomes.values()):
        earlier = None  # it had no result, so a file at the target is somebody else's
    known = earlier.outcomes.get(volume.key) if earlier else None
    source_digest = sha256_of_text(volume.key)
    if known and known.state == DENOISED and known.stands(target.parent, source_digest) and not overwrite:
        return replace(known, state=DONE_BEFORE)
    if target.exists() and target.samefile(source):
        raise UsageError(target, "is the input itself, or a link to it", "name another output")
    if target.exists() and not (overwrite or earlier):
        raise InputError(target, "already exists", "name another output or add --overwrite")
    job = replace(job, run_time=earlier.run_time) if earlier and earlier.run_time else job
    warnings = (*volume.warnings, *spacing_doubts(job.bundle, volume))
    for warning in warnings:
        warn(f"{source.name}: {warning}")
    progress = Progress("denoising", len(volume.hu), "slices")
    hu = denoiser.denoise(volume, job.blend, progress.advance)
    target.parent.mkdir(parents=True, exist_ok=True)
    _make_room(target, manifest, overwrite=overwrite, is_named=target == out)
    write_manifest(manifest, job, [], {})  # first: a run killed from here on is known as ours and done again
    write_nifti(target, hu, volume.affine, like=source)
    progress.finish()
    seconds = time.monotonic() - started
    outcome = SeriesOutcome(
        volume.key, DENOISED, len(hu), source_digest, None, seconds, digests([target]), warnings,
        file=_name(source, job.form),
    )  # fmt: skip
    write_manifest(manifest, job, [outcome], {})
    return outcome


def _make_room(target: Path, manifest: Path, *, overwrite: bool, is_named: bool) -> None:
    """Set aside files at the target that are not ours or, without `overwrite`, were edited since.

    With `overwrite`, a target that the user named as a file is always replaced.
    """
    is_known = is_manifest(manifest)
    if manifest.exists() and not is_known:
        keep_aside(manifest)
    if not target.exists() or (overwrite and (is_known or is_named)):
        return
    listed = [one.files[target.name] for one in (series_in(manifest) if is_known else ()) if target.name in one.files]
    if not is_known or (listed and sha256_of_file(target) not in listed):
        keep_aside(target)


def _target(source: Path, out: Path, key: str, form: OutputForm) -> Path:
    if is_nifti(out):
        return out
    return out / (f"{key}.nii.gz" if form.deidentifier else source.name)


def _manifest_beside(target: Path) -> Path:
    return target.with_name(f"{target.name}.{MANIFEST}")


def _name(source: Path, form: OutputForm) -> str:
    return "" if form.deidentifier else name_below(source.parent, source)

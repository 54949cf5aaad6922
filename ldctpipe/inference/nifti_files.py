"""NIfTI files denoised, one by one; each gets a manifest beside it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from ldctpipe.errors import InputError, UsageError
from ldctpipe.files import sha256_of_file, sha256_of_text
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.inference.job import Job, OutputForm
from ldctpipe.inference.manifest import (
    DENOISED,
    DONE_BEFORE,
    MANIFEST,
    SeriesOutcome,
    digests,
    earlier_run,
    is_manifest,
    series_in,
    write_manifest,
)
from ldctpipe.merging import keep_aside
from ldctpipe.progress import Progress, warn
from ldctpipe.volumes.nifti import is_nifti, read_nifti, write_nifti
from ldctpipe.volumes.volume import Volume


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


def denoise_nifti(source: Path, out: Path, job: Job, denoiser: Denoiser, *, overwrite: bool) -> SeriesOutcome:
    """Denoise the file `source` to `out`, a NIfTI file name or a folder, and return what became of it.

    In a folder the result has the source's name, or its key where it is to be de-identified. Raises `InputError` for a
    volume that can't be HU and for a file at the target that the same job didn't write.
    """
    started = time.monotonic()
    volume = read_nifti(source)
    target = _target(source, out, volume, job.form)
    manifest = target.with_name(f"{target.name}.{MANIFEST}")
    earlier = earlier_run(manifest, job)
    known = earlier.outcomes.get(volume.key) if earlier else None
    source_digest = sha256_of_text(volume.key)
    if known and known.state == DENOISED and known.stands(target.parent, source_digest) and not overwrite:
        return replace(known, state=DONE_BEFORE)
    if target.exists() and (target.samefile(source) or not (overwrite or earlier)):
        raise InputError(target, "is there already", "name another output or add --overwrite")
    job = replace(job, run_time=earlier.run_time) if earlier and earlier.run_time else job
    for warning in volume.warnings:
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
        volume.key, DENOISED, len(hu), source_digest, None, seconds, digests([target]), volume.warnings
    )
    write_manifest(manifest, job, [outcome], {})
    return outcome


def _make_room(target: Path, manifest: Path, *, overwrite: bool, is_named: bool) -> None:
    """Set aside what lies in the way and is not ours, or, without `overwrite`, was edited since.

    A target that the user named as a file is replaced on `overwrite` whatever it is.
    """
    is_known = is_manifest(manifest)
    if manifest.exists() and not is_known:
        keep_aside(manifest)
    if not target.exists() or (overwrite and (is_known or is_named)):
        return
    listed = [one.files[target.name] for one in (series_in(manifest) if is_known else ()) if target.name in one.files]
    if not is_known or (listed and sha256_of_file(target) not in listed):
        keep_aside(target)


def _target(source: Path, out: Path, volume: Volume, form: OutputForm) -> Path:
    if is_nifti(out):
        return out
    return out / (f"{volume.key}.nii.gz" if form.deidentifier else source.name)

"""`ldctpipe denoise`: scans become derived, denoised series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import (
    Blend,
    Compress,
    DeidentificationKey,
    Deidentify,
    Device,
    DeviceName,
    KeepIdentifiers,
    KeepPrivate,
    Model,
    Nifti,
    Overwrite,
    Push,
    Quiet,
    Threads,
    output_form,
)
from ldctpipe.dicom.compression import Compression
from ldctpipe.errors import InputError, ReadError
from ldctpipe.progress import say


def command(
    input: Annotated[Path, typer.Argument(help="DICOM folder (any tree), file, DICOMDIR or zip; or NIfTI in HU.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; for NIfTI also a file name.")],
    model: Model,
    blend: Blend = 1.0,
    compress: Compress = Compression.NONE,
    nifti: Nifti = False,
    push: Push = None,
    deidentify: Deidentify = False,
    deidentification_key: DeidentificationKey = None,
    keep_identifiers: KeepIdentifiers = False,
    keep_private: KeepPrivate = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="End with 0 although series were refused.")] = False,
    device: Device = DeviceName.AUTO,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Denoise every CT series found and write a derived DICOM series for each, with a manifest.

    Series that can't be denoised are refused with the reason and do not stop the others. Series that can't be read now
    have failed: the command exits with 74, and the same command tries them again. One patient's series go into OUT,
    several patients' into a folder each. Running the same job again does only what is missing.
    """
    say(f"loading the model {model}")  # with its libraries, which take some seconds
    from ldctpipe.dicom.discovery import unread_error
    from ldctpipe.inference.denoise import DenoiseRequest, denoise

    form = output_form(compress, nifti, keep_private, deidentify, deidentification_key, keep_identifiers)
    result = denoise(DenoiseRequest(input, out, model, blend, device.value, threads, overwrite, form, push))
    done = [outcome for outcome in result.outcomes if not outcome.is_missing]
    for outcome in (*result.refused, *result.failed):
        print(f"{outcome.state}: {outcome.title}: {outcome.reason}")
    for reason, count in result.skipped.items():
        print(f"left out: {count} files: {reason}")
    slices = sum(outcome.slices for outcome in done)
    counts = f"{len(done)} series with {slices} slices denoised, {len(result.refused)} refused"
    print(f"{out}: {counts}, {len(result.failed)} failed")
    if result.unread:
        raise unread_error(input, result.unread)
    if result.failed:
        fault = f"{len(result.failed)} of {len(result.outcomes)} series failed"
        raise ReadError(input, fault, "see the reasons above and run the same command again")
    if result.refused and not keep_going:
        fault = f"{len(result.refused)} of {len(result.outcomes)} series could not be denoised"
        raise InputError(input, fault, "see the reasons above, or add --keep-going to end with 0")

"""Options that several commands share, with one name and one text each."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ldctpipe.dicom.compression import Compression
from ldctpipe.errors import UsageError
from ldctpipe.progress import set_quiet

if TYPE_CHECKING:
    from ldctpipe.dicom.deidentification import Deidentifier
    from ldctpipe.inference.job import OutputForm


_LONGEST_SHOWN = 40


class DeviceName(str, Enum):
    """Where tensors live; `auto` takes CUDA, then MPS, then the CPU."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


def _hush(quiet: bool) -> bool:
    set_quiet(quiet)
    return quiet


Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_hush, help="No progress, only results and warnings.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads to use.", show_default="all that this process may use"),
]
Device = Annotated[DeviceName, typer.Option("--device", help="Where to compute.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace earlier output of ldctpipe; your own files stay.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The one number that all randomness follows from.")]
Model = Annotated[Path, typer.Option("--model", help="Denoiser bundle: the folder that `ldctpipe train` wrote.")]
Blend = Annotated[
    float, typer.Option("--blend", min=0.0, max=1.0, help="Share of the model in the result; 0 gives the source.")
]
Compress = Annotated[Compression, typer.Option("--compress", help="Write pixel data in a lossless compression.")]
Nifti = Annotated[bool, typer.Option("--nifti", help="Write each series as KEY.nii.gz too.")]
Push = Annotated[
    str | None, typer.Option("--push", metavar="URL", help="Send the results to this DICOMweb root (STOW-RS).")
]
KeepPrivate = Annotated[bool, typer.Option("--keep-private", help="Keep private tags of the source.")]

Deidentify = Annotated[
    bool, typer.Option("--deidentify", help="Remove identity (PS3.15 basic profile); shift dates, alike for a patient.")
]
DeidentificationKey = Annotated[
    Path | None,
    typer.Option(
        "--deidentification-key",
        metavar="FILE",
        help="The secret that new UIDs, names and dates follow from.",
        show_default="one for this user, made once",
    ),
]
KeepIdentifiers = Annotated[
    bool, typer.Option("--keep-identifiers", help="Let the PatientID stand in names and descriptions of outputs.")
]


def deidentifier(wanted: bool, key: Path | None, *, keep_identifiers: bool) -> Deidentifier | None:
    """Return what removes identity, if that is `wanted`; raises `UsageError` for options that contradict each other."""
    if wanted and keep_identifiers:
        raise UsageError("--deidentify", "contradicts --keep-identifiers", "give one of them")
    if key and not wanted:
        raise UsageError("--deidentification-key", "has no effect without --deidentify", "add --deidentify")
    if not wanted:
        return None
    from ldctpipe.dicom.deidentification import Deidentifier, site_key

    return Deidentifier(site_key(key))


def output_form(
    compress: Compression,
    nifti: bool,
    keep_private: bool,
    deidentify: bool,
    deidentification_key: Path | None,
    keep_identifiers: bool = False,
) -> OutputForm:
    """Return the form in which results are written; raises `UsageError` for options that contradict each other."""
    from ldctpipe.inference.job import OutputForm

    if deidentify and keep_private:
        raise UsageError("--keep-private", "contradicts --deidentify, which removes private tags", "give one of them")
    return OutputForm(
        compression=compress,
        keep_private=keep_private,
        nifti=nifti,
        keep_identifiers=keep_identifiers,
        deidentifier=deidentifier(deidentify, deidentification_key, keep_identifiers=keep_identifiers),
    )


def dose_ends(text: str) -> tuple[float, float]:
    """Return the ends of --dose-range LOW:HIGH; raises `UsageError` for anything else."""
    ends = numbers(text, ":", "--dose-range")
    if len(ends) != 2:
        raise UsageError(None, f"--dose-range {text} is not LOW:HIGH", "give two doses, such as 0.05:0.6")
    return ends[0], ends[1]


def numbers(text: str, separator: str, option: str) -> list[float]:
    """Return the numbers in the value of an option; raises `UsageError` where one is none."""
    try:
        found = [float(part) for part in text.split(separator)]
    except ValueError:
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise UsageError(None, f"{option} {text[:_LONGEST_SHOWN]} is not a number", "give a share such as 0.25")
    return found

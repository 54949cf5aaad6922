"""Options that several commands share, with one name and one text each."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.progress import set_quiet


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
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run left at the output path.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The one number that all randomness follows from.")]
Model = Annotated[Path, typer.Option("--model", help="Denoiser bundle: the folder that `ldctpipe train` wrote.")]

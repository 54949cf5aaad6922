"""`ldctpipe report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Overwrite, Quiet


def command(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run: metrics/ (from evaluate), model/ (the bundle), either or both.")
    ],
    out: Annotated[Path, typer.Argument(help="HTML file to write.")],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page about a run: warnings, figures beside the published ones, curves, slices, and what was run.

    The page is one file under 5 MB, needs no network and no server, and prints. Parts that the run does not have are
    named as missing. The cohort table is printed on stdout.
    """
    from ldctpipe.files import refuse_existing
    from ldctpipe.reporting.document import START
    from ldctpipe.reporting.page import write_report

    refuse_existing(out, overwrite=overwrite, starts=[START])
    print(write_report(run, out))

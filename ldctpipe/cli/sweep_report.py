"""`ldctpipe sweep-report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Quiet
from ldctpipe.errors import UsageError


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder with runs/plan.json and runs/ID/{model,metrics}.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.html", help="HTML file to write; an older one is replaced.")],
    quiet: Quiet = False,
) -> None:
    """Write one HTML page about a sweep: the published table beside this run's, stability, curves, every training.

    Beside the page come OUT.csv, a row a training, and OUT.json, an entry a point. FOLDER is what the pipeline left
    with --workflow sweep, or made by hand: `ldctpipe sweep SWEEP FOLDER/runs/plan.csv`, then `train` and `evaluate` for
    each run of that table. Runs without a model or without metrics are named as failed. The tables are printed.
    """
    if out.suffix != ".html":
        raise UsageError(out, "is no name for a page", "give one that ends in .html")
    from ldctpipe.reporting.sweep_page import write_sweep_report

    print(write_sweep_report(folder, out))

"""`ldctpipe sweep-report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Overwrite, Quiet
from ldctpipe.errors import UsageError


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder with runs/plan.json and runs/ID/{model,metrics}.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.html", help="HTML file to write.")],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page about a sweep: the published table beside this run's, stability, curves, every training.

    Beside the page come OUT.csv, a row a training, and OUT.json, an entry a point. FOLDER is what the pipeline left
    with --workflow sweep, or made by hand: `ldctpipe sweep SWEEP FOLDER/runs/plan.csv`, then `train` and `evaluate` for
    each run of that table. Runs without a model or without metrics are named as failed. The tables are printed.
    """
    if out.suffix != ".html":
        raise UsageError(out, "is no name for a page", "give one that ends in .html")
    from ldctpipe.files import refuse_existing
    from ldctpipe.reporting.document import START
    from ldctpipe.reporting.sweep_page import write_sweep_report

    plans = [folder / "runs" / name for name in ("plan.csv", "plan.json")]
    for suffix, start in ((".html", START), (".csv", b"run,point"), (".json", b"{")):
        refuse_existing(out.with_suffix(suffix), overwrite=overwrite, inputs=plans, starts=[start])

    print(write_sweep_report(folder, out))

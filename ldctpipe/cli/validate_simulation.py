"""`ldctpipe validate-simulation`: the acceptance tests of the dose simulation on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Overwrite, Quiet, Threads
from ldctpipe.errors import InputError


def command(
    out: Annotated[Path, typer.Option(help="Folder to make for table and plots.")],
    series: Annotated[
        Path | None, typer.Option(help="A series of your own, to be measured as well: DICOM folder or NIfTI file.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small slices: seconds instead of minutes.")] = False,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Measure whether simulated noise is what physics says, and print what was found beside its limit.

    V1 to V18: level, growth with falling dose, texture, direction, correlation between slices, bias, starvation,
    determinism, agreement with scikit-image, mean frequency, mean by tissue, noise by slice. A series of your own adds
    its calibration, its noise by dose, and its texture beside that of the noise added. Ends with 65 where a limit is
    not kept.

    Example: ldctpipe validate-simulation --out validation --series full_dose
    """
    from ldctpipe.simulation.acceptance_bench import Bench
    from ldctpipe.simulation.validation import CLINICAL, validate_simulation

    bench = Bench() if quick else CLINICAL
    validation = validate_simulation(out, series, bench=bench, threads=threads, overwrite=overwrite)
    rows = [(each.name, each.title, each.measured, each.limit) for each in validation.checks]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:3]]
    for check, (name, title, measured, limit) in zip(validation.checks, rows, strict=True):
        state = "pass" if check.passed else "FAIL"
        print(f"{state}  {name:{widths[0]}}  {title:{widths[1]}}  {measured:{widths[2]}}  {limit}")
    print(f"{out}: {len(rows) - len(validation.failed)} of {len(rows)} limits kept")
    if validation.failed:
        names = ", ".join(check.name for check in validation.failed)
        raise InputError(None, f"limits not kept: {names}", "see the table and the plots")

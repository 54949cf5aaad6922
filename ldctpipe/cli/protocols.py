"""`ldctpipe protocols`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the complete definitions as JSON, for programs.")
    ] = False,
) -> None:
    """List the measuring protocols that `ldctpipe evaluate --protocol` takes.

    A protocol fixes the HU window, the data range, the form of SSIM and which pixels count. Figures made with
    different protocols can't be compared; every figure that ldctpipe prints names its own as NAME@VERSION.
    """
    from ldctpipe.metrics.listing import protocols_as_json, protocols_as_text

    print(protocols_as_json() if as_json else protocols_as_text())

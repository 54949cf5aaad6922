"""`ldctpipe doctor`: what this machine can do."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def command(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Say what there is to compute with: devices, memory, disk, codecs, Java and Nextflow, versions."""
    from ldctpipe.doctor import examine

    findings = examine()
    if as_json:
        print(json.dumps(findings, indent=2))
        return
    for name, value in findings.items():
        print(f"{name:18} {value}")

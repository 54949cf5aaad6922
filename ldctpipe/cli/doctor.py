"""`ldctpipe doctor`: what this machine can do."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ldctpipe.errors import ExitCode


def command(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> int:
    """Check whether this machine is ready to run ldctpipe.

    Lists devices, memory, disk, codecs, Java and Nextflow, and versions. The last line is the verdict; if it is "not
    ready", the exit code is 69.
    """
    from ldctpipe.doctor import examine

    findings, verdict = examine()
    if as_json:
        print(json.dumps({**findings, "ready": verdict.is_ready, "verdict": verdict.sentence}, indent=2))
    else:
        for name, value in findings.items():
            print(f"{name:18} {value}")
        print(verdict.sentence)
    return ExitCode.DONE if verdict.is_ready else ExitCode.UNAVAILABLE

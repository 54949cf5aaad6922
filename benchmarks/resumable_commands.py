"""Commands of ldctpipe whose results stay, so that a benchmark goes on where it was interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_unless_done(out: Path, *arguments: object, threads: int) -> None:
    """Run one command of ldctpipe that writes `out`, unless that is there; its log goes beside it."""
    if out.exists():
        return
    words = [Path(sys.executable).with_name("ldctpipe"), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with out.with_name(out.name + ".log").open("a", encoding="utf-8") as log:
        subprocess.run(words, check=True, env=environment, stdout=log, stderr=subprocess.STDOUT)

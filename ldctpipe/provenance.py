"""Which version of the source wrote an output, and when."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from ldctpipe.errors import UsageError

_EPOCH = "SOURCE_DATE_EPOCH"
_LAST_SECOND = 253_370_764_799  # the end of the year 9998: dates are shifted and seen in time zones after this
_LONGEST_SHOWN = 40


def run_time() -> datetime:
    """Return the time stamp of this run: now, or SOURCE_DATE_EPOCH where it is set (reproducible-builds.org).

    Raises `UsageError` where that is no number of seconds from 1970 on.
    """
    epoch = os.environ.get(_EPOCH)
    if not epoch:
        return datetime.now(timezone.utc).replace(microsecond=0)
    if not re.fullmatch(r"[0-9]{1,12}", epoch) or int(epoch) > _LAST_SECOND:
        shown = epoch if len(epoch) <= _LONGEST_SHOWN else f"{epoch[:_LONGEST_SHOWN]}…"
        fault = f"{_EPOCH}={shown} is no number of seconds since 1970"
        raise UsageError(None, fault, "set it to the output of `date +%s`, or unset it")
    return datetime.fromtimestamp(int(epoch), timezone.utc)


def source_revision() -> str | None:
    """Return the git revision of the checkout that this package runs from, "+changes" added; None outside of one."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        return _git(root, "rev-parse", "HEAD") + ("+changes" if _git(root, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()

"""What a denoising job is and what came of it: `manifest.json`. It names no patient and no source file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ldctpipe import __version__
from ldctpipe.errors import InputError
from ldctpipe.files import read_json, sha256_of_file, write_json
from ldctpipe.recipes.bundle import Bundle

MANIFEST = "manifest.json"
FORMAT = "ldctpipe-denoised@1"


@dataclass(frozen=True)
class Job:
    """Everything that decides the pixels of an output, but the source, and the one time stamp of the run."""

    bundle: Bundle
    blend: float
    run_time: datetime

    @property
    def settings(self) -> str:
        """All that changes pixels beside the weights, as text."""
        return f"blend={self.blend:g}"

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of the job."""
        return {
            "format": FORMAT,
            "ldctpipe": __version__,
            "model": {
                "name": self.bundle.name,
                "title": self.bundle.recipe.title,
                "sha256": self.bundle.weights_sha256,
                "notes": self.bundle.card.get("notes", []),
            },
            "settings": self.settings,
            "run_time": self.run_time.isoformat(),
        }


@dataclass(frozen=True)
class SeriesOutcome:
    """What became of one series: "denoised" or "refused", with the reason."""

    key: str
    state: str
    slices: int = 0
    reason: str | None = None
    seconds: float = 0.0
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def run_time() -> datetime:
    """Return the time stamp of this run: now, or SOURCE_DATE_EPOCH where it is set (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)
    return now.replace(microsecond=0)


def write_manifest(folder: Path, job: Job, outcomes: list[SeriesOutcome], skipped: dict[str, int]) -> None:
    """Write the manifest of one output folder, with the checksum of every file in it."""
    series = [
        {
            "key": outcome.key,
            "state": outcome.state,
            "reason": outcome.reason,
            "slices": outcome.slices,
            "seconds": round(outcome.seconds, 2),
            "warnings": list(outcome.warnings),
            "files": {name: sha256_of_file(folder / name) for name in outcome.files},
        }
        for outcome in outcomes
    ]
    write_json(folder / MANIFEST, {**job.describe(), "series": series, "skipped_files": skipped})


def is_done(folder: Path, job: Job, keys: set[str]) -> bool:
    """Tell whether `folder` holds the finished output of the same job for the same series, by its manifest."""
    if not (folder / MANIFEST).is_file():
        return False
    manifest = read_json(folder / MANIFEST, "a manifest")
    described = job.describe()
    same = all(manifest.get(name) == described[name] for name in ("format", "ldctpipe", "model", "settings"))
    return same and {series["key"] for series in manifest["series"]} == keys


def refuse_other_job(folder: Path) -> None:
    """Raise `InputError` for an output folder that holds something else than this job's output."""
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise InputError(folder, "the output folder already holds other files", "name another one or add --overwrite")

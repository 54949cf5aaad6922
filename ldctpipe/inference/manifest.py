"""What a denoising job is and what came of it: `manifest.json`. It names no patient and no source file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from ldctpipe import __version__
from ldctpipe.files import read_json, sha256_of_file, write_json
from ldctpipe.recipes.bundle import Bundle

MANIFEST = "manifest.json"
FORMAT = "ldctpipe-denoised@1"


@dataclass(frozen=True)
class Job:
    """Everything that decides the pixels of an output, but the source, and the one time stamp of the run."""

    bundle: Bundle
    blend: float
    keep_private: bool
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
            "keep_private": self.keep_private,
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


class Standing(Enum):
    """What an output folder holds with regard to a job."""

    EMPTY = "nothing"
    DONE = "the whole output of the same job"
    UNFINISHED = "output of the same job, but not of all that is asked for now"
    FOREIGN = "something else"


def write_manifest(path: Path, job: Job, outcomes: list[SeriesOutcome], skipped: dict[str, int]) -> None:
    """Write the manifest of the files beside it, with the checksum of each."""
    series = [
        {
            "key": outcome.key,
            "state": outcome.state,
            "reason": outcome.reason,
            "slices": outcome.slices,
            "seconds": round(outcome.seconds, 2),
            "warnings": list(outcome.warnings),
            "files": {name: sha256_of_file(path.parent / name) for name in outcome.files},
        }
        for outcome in outcomes
    ]
    write_json(path, {**job.describe(), "series": series, "skipped_files": skipped})


def standing(path: Path, job: Job, wanted: dict[str, int]) -> Standing:
    """Return what lies at the manifest `path` and beside it, where `wanted` has the slices of each series by key."""
    if not path.is_file():
        return Standing.FOREIGN if _is_occupied(path) else Standing.EMPTY
    manifest, described = read_json(path, "a manifest"), job.describe()
    same = isinstance(manifest, dict) and all(
        manifest.get(name) == value for name, value in described.items() if name != "run_time"
    )
    if not same:
        return Standing.FOREIGN
    done = {
        entry["key"]: entry["slices"]
        for entry in manifest["series"]
        if entry["state"] == "denoised" and all((path.parent / name).is_file() for name in entry["files"])
    }
    return Standing.DONE if done == wanted else Standing.UNFINISHED


def _is_occupied(path: Path) -> bool:
    return path.name == MANIFEST and path.parent.exists() and (path.parent.is_file() or any(path.parent.iterdir()))

"""What came of a denoising job: `manifest.json` beside the files. It names no patient and no source file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ldctpipe.files import read_json, sha256_of_file, write_json
from ldctpipe.inference.job import Job

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class SeriesOutcome:
    """What became of one series: "denoised", "done before" or "refused", with the reason."""

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


def write_manifest(path: Path, job: Job, outcomes: list[SeriesOutcome], skipped: dict[str, int], **more: Any) -> None:
    """Write the manifest of the files beside it, with the checksum of each; `more` stands beside the series."""
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
    write_json(path, {**job.describe(), **more, "series": series, "skipped_files": skipped, "sent_to": []})


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


def dicom_files(path: Path) -> list[Path]:
    """Return the derived DICOM files that the manifest at `path` names, in its order."""
    series = read_json(path, "a manifest")["series"]
    return [path.parent / name for entry in series for name in entry["files"] if name.endswith(".dcm")]


def was_sent(path: Path, destination: str) -> bool:
    """Tell whether the manifest at `path` says that its files are at `destination`."""
    return destination in read_json(path, "a manifest").get("sent_to", [])


def note_sent(path: Path, destination: str) -> None:
    """Add `destination` to where the files of the manifest at `path` are."""
    manifest = read_json(path, "a manifest")
    write_json(path, {**manifest, "sent_to": [*manifest.get("sent_to", []), destination]})


def _is_occupied(path: Path) -> bool:
    return path.name == MANIFEST and path.parent.exists() and (path.parent.is_file() or any(path.parent.iterdir()))

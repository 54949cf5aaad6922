"""The outcome of a denoising job: `manifest.json` beside the files.

It names no patient, but has each series' description from the scanner and one of its file names, unless de-identified.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ldctpipe.errors import InputError
from ldctpipe.files import read_json, read_object, sha256_of_file, write_json
from ldctpipe.inference.job import FORMAT, Job
from ldctpipe.merging import is_below

MANIFEST = "manifest.json"
DENOISED, REFUSED, FAILED, DONE_BEFORE = "denoised", "refused", "failed", "done before"


@dataclass(frozen=True)
class SeriesOutcome:
    """The outcome of one series, with the reason: "denoised", "refused" or, if another try may succeed, "failed".

    In the result of a run also "done before".

    `source` stands for the files that it was made from, `files` has the SHA-256 of each file that was made. `number`
    and `description` are the scanner's, `file` is one of the source below the input; all are empty if identity is
    removed.
    """

    key: str
    state: str
    slices: int
    source: str
    reason: str | None = None
    seconds: float = 0.0
    files: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    sent_to: tuple[str, ...] = ()
    number: int | None = None
    description: str = ""
    file: str = ""

    @property
    def title(self) -> str:
        """The series in words: its key, and what a person recognizes it by."""
        known = (f"number {self.number}" if self.number is not None else "", self.description, self.file)
        return ", ".join([f"series {self.key}", *filter(None, known), f"{self.slices} slices"])

    @property
    def is_missing(self) -> bool:
        """Whether the series has no result."""
        return self.state in (REFUSED, FAILED)

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as values that JSON has."""
        return {
            "key": self.key,
            "number": self.number,
            "description": self.description,
            "file": self.file,
            "state": self.state,
            "reason": self.reason,
            "slices": self.slices,
            "seconds": round(self.seconds, 2),
            "warnings": list(self.warnings),
            "source": self.source,
            "sent_to": list(self.sent_to),
            "files": self.files,
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> SeriesOutcome:
        """Return what `as_json` gave; raises `TypeError`, `KeyError` or `ValueError` for anything else."""
        outcome = cls(**{**entry, "warnings": tuple(entry["warnings"]), "sent_to": tuple(entry["sent_to"])})
        return _CHECK.validate_json(json.dumps(vars(outcome)), strict=True)

    def stands(self, folder: Path, source: str) -> bool:
        """Tell whether this was made from `source` and all of its files are in `folder`, unaltered."""
        if self.source != source:
            return False
        paths = {folder / name: digest for name, digest in self.files.items()}
        return all(path.is_file() and sha256_of_file(path) == digest for path, digest in paths.items())


_CHECK = TypeAdapter(SeriesOutcome)


@dataclass(frozen=True)
class Earlier:
    """What an earlier run of the same job left in a folder: of which patient, and when, where its files may tell."""

    patient: str | None
    run_time: datetime | None
    outcomes: dict[str, SeriesOutcome]


def write_manifest(
    path: Path, job: Job, outcomes: Sequence[SeriesOutcome], skipped: dict[str, int], **more: Any
) -> None:
    """Write what came of a job beside its files; `more` stands beside the series."""
    series = [outcome.as_json() for outcome in outcomes]
    write_json(path, {**job.describe(), **more, "series": series, "skipped_files": skipped})


def earlier_run(path: Path, job: Job) -> Earlier | None:
    """Return what the manifest at `path` says, or None where there is none of the same job.

    Raises `InputError` for a manifest that is damaged.
    """
    if not path.is_file():
        return None
    manifest = read_object(path, "a manifest")
    described = {name: value for name, value in job.describe().items() if name != "run_time"}
    if any(manifest.get(name) != value for name, value in described.items()):
        return None
    outcomes = _outcomes(path, manifest)
    try:
        run_time = datetime.fromisoformat(manifest["run_time"]) if manifest.get("run_time") else None
    except (TypeError, ValueError):
        raise _damaged(path) from None
    return Earlier(manifest.get("patient"), run_time, {outcome.key: outcome for outcome in outcomes})


def series_in(path: Path) -> list[SeriesOutcome]:
    """Return the outcomes that the manifest at `path` lists, of any job; none if another program wrote it."""
    manifest = read_json(path, "a manifest")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        return []
    return _outcomes(path, manifest)


def _outcomes(path: Path, manifest: dict[str, Any]) -> list[SeriesOutcome]:
    try:
        return [SeriesOutcome.from_json(entry) for entry in manifest["series"]]
    except (TypeError, KeyError, ValueError):
        raise _damaged(path) from None


def _damaged(path: Path) -> InputError:
    return InputError(path, "is a damaged manifest", "remove it to denoise again, or name another output folder")


def name_below(root: Path, file: Path) -> str:
    """Return a file's path below the input `root` as text; of an archive's content, the archive's name."""
    named = file.relative_to(root) if file.is_relative_to(root) and file != root else Path(root.name)
    return os.fsencode(named).decode("utf-8", "backslashreplace")


def own_files(folder: Path, *, kept: Collection[str] = (), altered: bool = False) -> dict[str, str | None]:
    """Return the files in `folder` that its manifest lists, as `new_folder` takes them, except those in `kept`.

    With `altered`, they are ours even if they were edited.
    """
    path = folder / MANIFEST
    outcomes = series_in(path) if path.is_file() else []
    if not outcomes and not is_manifest(path):
        return {}
    files = {name: digest for outcome in outcomes for name, digest in outcome.files.items() if is_below(name)}
    own = {name: None if altered else digest for name, digest in files.items() if name not in kept}
    return {**own, MANIFEST: None}


def has_results(folder: Path) -> bool:
    """Tell whether the manifest in `folder` lists any file."""
    return is_manifest(folder / MANIFEST) and any(outcome.files for outcome in series_in(folder / MANIFEST))


def is_manifest(path: Path) -> bool:
    """Tell whether the file at `path` is a manifest of ldctpipe's."""
    try:
        return bool(read_json(path, "a manifest")["format"] == FORMAT)
    except (InputError, TypeError, KeyError, OSError):
        return False


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file by its name."""
    return {path.name: sha256_of_file(path) for path in paths}


def note_sent(path: Path, sent: SeriesOutcome, destination: str) -> None:
    """Add `destination` to where one series of the manifest at `path` is."""
    manifest = read_object(path, "a manifest")
    noted = replace(sent, sent_to=(*sent.sent_to, destination)).as_json()
    series = [noted if entry["key"] == sent.key else entry for entry in manifest["series"]]
    write_json(path, {**manifest, "series": series})

"""Whether the files of a run, a bundle, a store or a denoised folder are still those that were written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ldctpipe.errors import InputError
from ldctpipe.files import require_exists, sha256_of_file
from ldctpipe.foreign import json_of, read_text
from ldctpipe.progress import track
from ldctpipe.record.checksums import CHECKSUMS, files_in, read_checksums

RUN_RECORD = "run.json"
ALTERED, MISSING, EXTRA, UNREADABLE = "altered", "missing", "extra", "unreadable"


@dataclass
class Verdict:
    """What was compared (files by their path below the folder) and what is wrong with which of them."""

    compared: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return one line a fault, sorted by path: "altered: model/model.safetensors"."""
        return [f"{what}: {path}" for path, what in sorted(self.faults.items())]


@dataclass(frozen=True)
class _Claim:
    """That a file has a SHA-256; `of` says how it is taken where not over all bytes."""

    path: str
    sha256: str


def verify(folder: Path) -> Verdict:
    """Compare every file in `folder` with each checksum that the folder holds of it.

    Those are `checksums.json` of a run, which makes files that it doesn't list "extra", and below `folder` all bundles'
    cards, manifests of denoised series and descriptions of training stores. Raises `InputError` where there are none.
    """
    require_exists(folder)
    verdict = Verdict()
    claims = _listed(folder, verdict)
    names = files_in(folder, without=_work_folder(folder))
    stores = [name for name in names if Path(name).name == "store.json"]
    for name in names:
        if Path(name).name in ("card.json", "manifest.json"):
            claims += _claims_of(folder, name, verdict)
    if not claims and not stores:
        remedy = "give the output folder of a run, a bundle, a training store or denoised series"
        raise InputError(folder, "holds no checksums to compare with", remedy)
    for path, digests in track(sorted(_by_path(claims).items()), "verify", "files") if claims else ():
        _compare(folder, path, digests, verdict)
    for name in stores:
        _compare_store(folder, name, verdict)
    return verdict


def _work_folder(folder: Path) -> list[Path]:
    """Return where the run had its intermediate files, which may be inside of its output folder."""
    try:
        record = json_of(read_text(folder / RUN_RECORD))
        return [Path(record["work_folder"])] if record.get("work_folder") else []
    except (OSError, ValueError, AttributeError, TypeError, InputError):
        return []


def _listed(folder: Path, verdict: Verdict) -> list[_Claim]:
    if not (folder / CHECKSUMS).is_file():
        return []
    listed = read_checksums(folder)
    for name in files_in(folder, without=_work_folder(folder)):
        if name not in listed:
            verdict.faults[name] = EXTRA
    return [_Claim(name, digest) for name, digest in listed.items()]


def _claims_of(folder: Path, name: str, verdict: Verdict) -> list[_Claim]:
    """Return what a card or manifest says of the files beside it; one that can't be read is a fault itself."""
    beside = Path(name).parent
    reader = _card_claims if Path(name).name == "card.json" else _manifest_claims
    try:
        told = json_of(read_text(folder / name))
        return [_Claim((beside / file).as_posix(), str(digest)) for file, digest in reader(told)]
    except (ValueError, KeyError, TypeError, AttributeError, InputError):
        verdict.faults[name] = UNREADABLE
        return []


def _card_claims(card: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield card["weights"]["file"], card["weights"]["sha256"]
    yield "recipe.yaml", card["recipe_sha256"]


def _manifest_claims(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for series in manifest["series"]:
        yield from series["files"].items()


def _by_path(claims: list[_Claim]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for claim in claims:
        found.setdefault(claim.path, set()).add(claim.sha256)
    return found


def _compare(folder: Path, path: str, digests: set[str], verdict: Verdict) -> None:
    verdict.compared.add(path)
    if not (folder / path).is_file():
        verdict.faults[path] = MISSING
    elif {sha256_of_file(folder / path)} != digests:
        verdict.faults[path] = ALTERED


def _compare_store(folder: Path, name: str, verdict: Verdict) -> None:
    from ldctpipe.data.store_check import altered_arrays

    try:
        altered = altered_arrays((folder / name).parent)
    except InputError:
        verdict.faults[name] = UNREADABLE
        return
    for array, is_altered in altered.items():
        path = (Path(name).parent / array).as_posix()
        verdict.compared.add(path)
        if is_altered:
            verdict.faults[path] = ALTERED

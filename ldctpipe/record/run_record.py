"""The record of a pipeline run, `run.json`, completed from what lies in its output folder; then crate and checksums.

Nextflow writes the record when a run ends, however it ends: revision, parameters, versions, images. What takes reading
files is added here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ldctpipe.errors import InputError
from ldctpipe.files import read_object, sha256_of_file, walk, write_json
from ldctpipe.foreign import read_yaml
from ldctpipe.record.checksums import checksums_of, write_checksums
from ldctpipe.record.crate import CRATE, describe_run

RUN_RECORD, INFO = "run.json", "pipeline_info"


def complete_record(run: Path) -> int:
    """Complete `run/run.json`, write `ro-crate-metadata.json` and `checksums.json`; return the number of checksums.

    Writing it twice gives the same. Raises `InputError` where `run` holds no record of a run.
    """
    record = read_object(run / RUN_RECORD, "the output folder of a pipeline run")
    work = record.get("work_folder")
    if not isinstance(record.get("parameters"), dict) or not isinstance(work, (str, type(None))):
        raise InputError(run / RUN_RECORD, "is no record of a pipeline run", "give the output folder of a run")
    record = {**record, "recipes": _recipes(run), "inputs": _inputs(run, record["parameters"])}
    write_json(run / RUN_RECORD, record)
    without = [Path(work)] if work else []
    (run / CRATE).unlink(missing_ok=True)  # whose own text is not a part of what it describes
    digests = checksums_of(run, without=without)
    try:
        crate = describe_run(run, record, digests)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        fault = f"is not a complete record of a pipeline run ({type(error).__name__}: {error})"
        raise InputError(run / RUN_RECORD, fault, "give the output folder of a run as Nextflow left it") from None
    write_json(run / CRATE, crate)
    listed = {**digests, CRATE: sha256_of_file(run / CRATE)}
    write_checksums(run, listed)
    return len(listed)


def _recipes(run: Path) -> dict[str, Any]:
    """Return each resolved recipe by its path: the bundles', else the one that the run began with."""
    cards = (Path(parent, "card.json") for parent, _, names in walk(run) if "card.json" in names)
    bundles = sorted(card.with_name("recipe.yaml") for card in cards)
    found = [path for path in bundles if path.is_file()] or [run / INFO / "recipe.yaml"]
    return {path.relative_to(run).as_posix(): {"content": _content(path)} for path in found if path.is_file()}


def _content(recipe: Path) -> Any:
    try:
        content = read_yaml(recipe)
        json.dumps(content, allow_nan=False)  # no dates, which YAML has
    except (ValueError, TypeError) as error:
        raise InputError(recipe, f"is no recipe ({error})", "take an unaltered copy of the bundle") from None
    return content


def _inputs(run: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what tells one input from another: of each patient's scans, and of weights and bundle."""
    inputs: dict[str, Any] = {"scans": {}}
    for path in sorted((run / INFO / "inputs").glob("*.json")):
        scan = read_object(path, "a scan's checksum")
        if not isinstance(scan.get("patient"), str) or not isinstance(scan.get("scans"), dict):
            raise InputError(path, "is not a scan's checksum", "remove it, or run the pipeline again")
        inputs["scans"][scan["patient"]] = scan["scans"]
    if (manifest := run / "manifest.json").is_file():  # of a cohort: what its tasks found out by themselves
        try:
            for row in read_object(manifest, "a cohort's manifest")["series"]:
                inputs["scans"].setdefault(row["patient"], {})[row["series"]] = {"checksum": row["input_checksum"]}
        except (KeyError, TypeError):
            raise InputError(manifest, "is not a cohort's manifest", "run the pipeline again") from None
    for name in ("backbone_weights", "perceptual_weights", "feature_weights"):
        if isinstance(given := parameters.get(name), str) and given and (files := _files_in(Path(given))):
            inputs[name] = {"sha256": files[0][1]} if Path(given).is_file() else dict(files)
    for name in ("model", "init"):
        given = parameters.get(name)
        if isinstance(given, str) and given and (card := Path(given) / "card.json").is_file():
            inputs[name] = {"card_sha256": sha256_of_file(card), "weights": read_object(card, "a card").get("weights")}
    return inputs


def _files_in(place: Path) -> list[tuple[str, str]]:
    """Return name and SHA-256 of a file, or of those in a folder."""
    files = [place] if place.is_file() else sorted(path for path in place.glob("*") if path.is_file())
    return [(path.name, sha256_of_file(path)) for path in files]

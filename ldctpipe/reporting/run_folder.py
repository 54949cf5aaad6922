"""What a run folder holds, read once and checked; whatever is not there is None and named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ldctpipe.errors import InputError
from ldctpipe.files import read_json, require_exists
from ldctpipe.metrics.samples import Sample, read_samples
from ldctpipe.metrics.slices import BASELINE
from ldctpipe.metrics.summary import FORMAT


@dataclass(frozen=True)
class Run:
    """The parts of a run; `missing` says for each absent part what the report can't show."""

    summary: dict[str, Any] | None
    slices: pd.DataFrame | None
    samples: tuple[Sample, ...]
    card: dict[str, Any] | None
    recipe_text: str | None
    training: pd.DataFrame | None
    record: dict[str, Any] | None
    missing: tuple[str, ...]

    @property
    def method(self) -> str:
        """Name of the denoiser: from the evaluation, else from the bundle's card."""
        if self.summary is not None:
            return next(name for name in self.summary["methods"] if name != BASELINE)
        return str((self.card or {}).get("name", "denoised"))


_PARTS = {
    "metrics/summary.json": "no figures: nothing was evaluated",
    "metrics/slices.csv": "no figures for single slices",
    "metrics/samples.npz": "no pictures",
    "model/card.json": "no account of the model and its training",
    "model/recipe.yaml": "no recipe",
    "model/training.csv": "no loss curves",
}


def read_run(folder: Path) -> Run:
    """Return the run in `folder`.

    Raises `InputError` when `folder` does not exist, holds neither `metrics/summary.json` nor `model/card.json`, or a
    part can't be read.
    """
    require_exists(folder)
    there = {part: folder / part for part in _PARTS if (folder / part).is_file()}
    if not there.keys() & {"metrics/summary.json", "model/card.json"}:
        raise InputError(
            folder,
            "holds neither metrics/summary.json nor model/card.json",
            "give the folder of a run with metrics/ or model/",
        )
    record = folder / "run.json"
    return Run(
        _summary(there["metrics/summary.json"]) if "metrics/summary.json" in there else None,
        _optional_table(there.get("metrics/slices.csv")),
        tuple(read_samples(there["metrics/samples.npz"])) if "metrics/samples.npz" in there else (),
        _mapping(there.get("model/card.json"), "a model card"),
        _recipe(there.get("model/recipe.yaml")),
        _optional_table(there.get("model/training.csv")),
        _mapping(record if record.is_file() else None, "a record of the run"),
        tuple(f"{part} is missing: {meaning}." for part, meaning in _PARTS.items() if part not in there),
    )


def _summary(path: Path) -> dict[str, Any]:
    summary = read_json(path, "a summary of `ldctpipe evaluate`")
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        raise InputError(path, f"is not of format {FORMAT}", "run `ldctpipe evaluate` again")
    return summary


def _mapping(path: Path | None, what: str) -> dict[str, Any] | None:
    if path is None:
        return None
    value = read_json(path, what)
    if not isinstance(value, dict):
        raise InputError(path, f"is not {what}", "write it anew with the step that made it")
    return value


def _optional_table(path: Path | None) -> pd.DataFrame | None:
    return None if path is None else read_table(path)


def read_table(path: Path) -> pd.DataFrame:
    """Return the CSV table in `path`; raises `InputError` where it is none."""
    try:
        return pd.read_csv(path, dtype={"patient": "str", "series": "str", "method": "str"})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(
            path, f"can't be read as a table ({error})", "write it anew with the step that made it"
        ) from None


def _recipe(path: Path | None) -> str | None:
    if path is None:
        return None
    text = path.read_text(encoding="utf-8")
    try:
        yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(path, f"is not YAML ({error})", "write the bundle anew with `ldctpipe train`") from None
    return text

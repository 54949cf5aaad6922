"""What a run folder holds, read once and checked; whatever is not there is None and named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ldctpipe.errors import InputError
from ldctpipe.files import read_object, require_exists
from ldctpipe.foreign import LARGEST_RECIPE_BYTES, read_text, require_file, yaml_of
from ldctpipe.metrics.samples import Sample, read_samples
from ldctpipe.metrics.slices import BASELINE
from ldctpipe.metrics.summary_file import read_summary
from ldctpipe.recipes.card import Told, read_card


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
        """Name of the denoiser, the first where there are several: from the evaluation, else from the bundle's card."""
        return self.methods[0]

    @property
    def methods(self) -> list[str]:
        """Names of all denoisers."""
        if self.summary is not None:
            return [name for name in self.summary["methods"] if name != BASELINE]
        return [str((self.card or {}).get("name", "denoised"))]


_ANEW = "run the step that makes it again"
_TEXT_COLUMNS = ("method", "patient", "series", "protocol")
_SLICE_COLUMNS = ("method", "patient", "series", "slice_position_mm", "psnr_db")
_LARGEST_TABLE_BYTES = 1 << 30
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
        read_summary(there["metrics/summary.json"]) if "metrics/summary.json" in there else None,
        _optional_table(there.get("metrics/slices.csv"), _SLICE_COLUMNS),
        tuple(read_samples(there["metrics/samples.npz"])) if "metrics/samples.npz" in there else (),
        read_card(there["model/card.json"], of=Told) if "model/card.json" in there else None,
        _recipe(there.get("model/recipe.yaml")),
        _optional_table(there.get("model/training.csv"), ("iteration",)),
        read_object(record, "a record of the run") if record.is_file() else None,
        tuple(f"{part} is missing: {meaning}." for part, meaning in _PARTS.items() if part not in there),
    )


def _optional_table(path: Path | None, columns: tuple[str, ...]) -> pd.DataFrame | None:
    return None if path is None else read_table(path, columns)


def read_table(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return the CSV table in `path`, with at least these columns, numbers in all but those of names.

    Raises `InputError` for anything else.
    """
    require_file(path, _LARGEST_TABLE_BYTES)
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT_COLUMNS, "str"))
    except (ValueError, OverflowError) as error:  # pandas' own kinds are of the former
        fault = f"can't be read as a table ({' '.join(str(error).split())})"
        raise InputError(path, fault, _ANEW) from None
    for name in columns:
        if name not in table:
            raise InputError(path, f"has no column `{name}`", _ANEW)
    for name in table.columns.difference(list(_TEXT_COLUMNS)):
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise InputError(path, f"has text in the column {name}, which holds numbers", _ANEW)
    return table


def _recipe(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = read_text(path, LARGEST_RECIPE_BYTES)
        yaml_of(text)
    except ValueError as error:
        raise InputError(path, f"is not YAML ({error})", "write the bundle anew with `ldctpipe train`") from None
    return text

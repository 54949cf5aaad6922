"""`summary.json`: the cohort, its patients, and what could not be computed and why."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from ldctpipe import __version__
from ldctpipe.metrics.averaged_slices import AveragedSlices, averaged_slices
from ldctpipe.metrics.protocols import Protocol
from ldctpipe.metrics.slices import BASELINE, MEASURES
from ldctpipe.metrics.statistics import (
    LEAST_PATIENTS_FOR_TEST,
    RESAMPLES,
    cohort_value,
    paired_tests,
    patient_means,
)

FORMAT = "ldctpipe-evaluation@1"
TESTED = ("psnr_db", "ssim", "rmse_hu")
_LIBRARIES = ("numpy", "pandas", "scikit-image", "scipy")
_DIGITS = 6


def build_summary(
    slices: pd.DataFrame,
    protocol: Protocol,
    *,
    seed: int,
    left_out_slices: int,
    left_out_patients: Mapping[str, str],
    models: Mapping[str, Any],
    inputs: Mapping[str, str],
    warnings: Sequence[str],
    feature_distances: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the whole summary as JSON types; what can't be computed is None, with its reason in `notes`.

    `slices` has the columns of `metrics.slices.COLUMNS`; `inputs` maps each series to the SHA-256 of its HU.
    """
    averaged = averaged_slices(slices)
    every = pd.MultiIndex.from_frame(slices[["method", "patient"]].drop_duplicates())
    patients = patient_means(averaged.rows, MEASURES).reindex(every)  # also those without a slice in the means
    methods = list(dict.fromkeys(slices["method"]))
    gains = patients.sub(patients.loc[BASELINE], level="patient")
    n_patients = int(slices["patient"].nunique())
    return _plain(
        {
            "format": FORMAT,
            "protocol": protocol.label,
            "protocol_definition": protocol.model_dump(mode="json"),
            "methods": {
                method: _cohort(patients.loc[method], seed, averaged.rows[averaged.rows["method"] == method])
                for method in methods
            },
            "gains": {
                method: _cohort(gains.loc[method][list(TESTED)], seed) for method in methods if method != BASELINE
            },
            "patients": _by_patient(patients),
            "slices_per_patient": slices[slices["method"] == BASELINE]["patient"].value_counts(sort=False).to_dict(),
            "n_patients": n_patients,
            "n_slices": int((slices["method"] == BASELINE).sum()),
            "n_averaged_slices": int((averaged.rows["method"] == BASELINE).sum()),
            "left_out_slices": left_out_slices,
            "left_out_patients": dict(left_out_patients),
            "feature_distances": feature_distances,
            "tests": paired_tests(patients, BASELINE, TESTED),
            "bootstrap": {"unit": "patient", "resamples": RESAMPLES, "level": 0.95, "seed": seed},
            "models": dict(models),
            "inputs": dict(inputs),
            "versions": {"ldctpipe": __version__, "python": platform.python_version()}
            | {n: version(n) for n in _LIBRARIES},
            "warnings": [*warnings, *([f"{averaged.note}."] if averaged.note else [])],
            "notes": _notes(slices, averaged, patients, n_patients) | _note_on_features(feature_distances),
        }
    )


def _cohort(patients: pd.DataFrame, seed: int, slices: pd.DataFrame | None = None) -> dict[str, dict[str, Any]]:
    values = {str(m): cohort_value(patients[m].to_numpy(dtype=np.float64), seed).as_json() for m in patients.columns}
    if slices is not None:
        for measure, value in values.items():
            value["slice_sd"] = float(slices[measure].std(ddof=1))
    return values


def _by_patient(patients: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (method, patient), values in zip(patients.index, patients.to_dict("records"), strict=True):
        found.setdefault(str(patient), {})[str(method)] = {str(name): value for name, value in values.items()}
    return found


def _notes(slices: pd.DataFrame, averaged: AveragedSlices, patients: pd.DataFrame, n_patients: int) -> dict[str, str]:
    notes = {}
    if averaged.note:
        notes["methods.*, patients.*"] = averaged.note
    if n_patients == 1:
        notes["*.*.*.sd, *.*.*.ci95"] = (
            "one patient has no spread over patients; slice_sd is the spread over its slices"
        )
    if n_patients < LEAST_PATIENTS_FOR_TEST:
        notes["tests"] = f"a paired test needs at least {LEAST_PATIENTS_FOR_TEST} patients, there are {n_patients}"
    for method, rows in slices.groupby("method", sort=False):
        if rows["psnr_db"].isna().all() and (rows["rmse_hu"] == 0).any():
            equal = int((rows["rmse_hu"] == 0).sum())
            notes[f"methods.{method}.psnr_db"] = (
                f"{equal} slices equal their reference, the PSNR of which is infinite, and no other has one"
            )
    for measure in MEASURES:
        if patients[measure].isna().any() and f"methods.*.{measure}" not in notes:
            notes[f"*.{measure}"] = _reason(measure)
    return notes


def _note_on_features(distances: dict[str, Any] | None) -> dict[str, str]:
    if distances is None:
        return {"feature_distances": "KID and FID need the weights of their network (--feature-weights)"}
    if distances["n_images"] < 2:
        return {"feature_distances.methods.*": "KID and FID compare sets of images, and there is one image"}
    return {}


def _reason(measure: str) -> str:
    if "bias" in measure or "noise" in measure:
        return "null where no slice of a patient has enough pixels (100) of this tissue"
    return "null where no slice of a patient is in the means, or all equal their reference"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), _DIGITS) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value

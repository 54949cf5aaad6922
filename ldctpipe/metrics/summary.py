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
from ldctpipe.metrics.comparisons import comparisons, equivalences, performed_tests
from ldctpipe.metrics.endpoints import ENDPOINTS, ST_LPIPS, endpoints_as_json
from ldctpipe.metrics.protocols import Protocol
from ldctpipe.metrics.slices import BASELINE, MEASURES
from ldctpipe.metrics.statistics import (
    LEAST_PATIENTS_FOR_BCA,
    LEAST_PATIENTS_FOR_INTERVAL,
    RESAMPLES,
    cohort_value,
    patient_means,
)

FORMAT = "ldctpipe-evaluation@2"
TESTED = tuple(endpoint.measure for endpoint in ENDPOINTS)
_LIBRARIES = ("numpy", "pandas", "scikit-image", "scipy")
_DIGITS = 6
_PROBABILITIES = ("p", "p_holm", "smallest_p_holm")  # significant digits: rounded to zero they would say too much


def build_summary(
    slices: pd.DataFrame,
    protocol: Protocol,
    *,
    baseline: str,
    primary: str,
    seed: int,
    left_out_slices: int,
    left_out_patients: Mapping[str, str],
    models: Mapping[str, Any],
    inputs: Mapping[str, str],
    warnings: Sequence[str],
    feature_distances: dict[str, Any] | None,
    st_lpips: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the whole summary as JSON types; what can't be computed is None, with its reason in `notes`.

    `slices` has the columns of `metrics.slices.COLUMNS`, and `st_lpips` where that says how it was computed; `inputs`
    maps each series to the SHA-256 of its HU.
    """
    measures = (*MEASURES, *([ST_LPIPS.measure] if st_lpips else []))
    compared_by = [measure for measure in (*TESTED, ST_LPIPS.measure) if measure in measures]
    averaged = averaged_slices(slices)
    every = pd.MultiIndex.from_frame(slices[["method", "patient"]].drop_duplicates())
    patients = patient_means(averaged.rows, measures).reindex(every)  # also those without a slice in the means
    methods = list(dict.fromkeys(slices["method"]))
    gains = patients.sub(patients.loc[BASELINE], level="patient")
    n_patients = int(slices["patient"].nunique())
    compared = comparisons(patients, compared_by, primary=primary, baseline=baseline, seed=seed)
    return _plain(
        {
            "format": FORMAT,
            "protocol": protocol.label,
            "protocol_definition": protocol.model_dump(mode="json"),
            "endpoints": endpoints_as_json(primary, baseline),
            "methods": {
                method: _cohort(patients.loc[method], seed, averaged.rows[averaged.rows["method"] == method])
                for method in methods
            },
            "gains": {
                method: _cohort(gains.loc[method][compared_by], seed) for method in methods if method != BASELINE
            },
            "patients": _by_patient(patients),
            "slices_per_patient": slices[slices["method"] == BASELINE]["patient"].value_counts(sort=False).to_dict(),
            "n_patients": n_patients,
            "n_slices": int((slices["method"] == BASELINE).sum()),
            "n_averaged_slices": int((averaged.rows["method"] == BASELINE).sum()),
            "left_out_slices": left_out_slices,
            "left_out_patients": dict(left_out_patients),
            "feature_distances": feature_distances,
            "st_lpips": st_lpips,
            "comparisons": compared,
            "tests": list(performed_tests(compared)),
            "equivalence": equivalences(patients),
            "intervals": {
                "ci95": {"method": "t", "unit": "patient", "least_patients": LEAST_PATIENTS_FOR_INTERVAL},
                "bca95": {
                    "method": "BCa bootstrap",
                    "unit": "patient",
                    "least_patients": LEAST_PATIENTS_FOR_BCA,
                    "resamples": RESAMPLES,
                    "seed": seed,
                },
            },
            "models": dict(models),
            "inputs": dict(inputs),
            "versions": {"ldctpipe": __version__, "python": platform.python_version()}
            | {n: version(n) for n in _LIBRARIES},
            "warnings": [*warnings, *([f"{averaged.note}."] if averaged.note else [])],
            "notes": _notes(slices, averaged, patients, n_patients)
            | _notes_on_statistics(n_patients, compared)
            | _notes_on_features(feature_distances, st_lpips),
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
        notes["*.*.*.sd"] = "one patient has no spread over patients; slice_sd is the spread over its slices"
    for method, rows in slices.groupby("method", sort=False):
        if rows["psnr_db"].isna().all() and (rows["rmse_hu"] == 0).any():
            equal = int((rows["rmse_hu"] == 0).sum())
            notes[f"methods.{method}.psnr_db"] = (
                f"{equal} slices equal their reference, the PSNR of which is infinite, and no other has one"
            )
    for measure in map(str, patients.columns):
        if patients[measure].isna().any() and f"methods.*.{measure}" not in notes:
            notes[f"*.{measure}"] = _reason(measure)
    return notes


def _notes_on_statistics(n_patients: int, compared: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    notes = {}
    if n_patients < LEAST_PATIENTS_FOR_INTERVAL:
        number = f"an interval over patients needs at least {LEAST_PATIENTS_FOR_INTERVAL} patients"
        notes["*.*.*.ci95, equivalence"] = f"{number}, there are {n_patients}"
    if n_patients < LEAST_PATIENTS_FOR_BCA:
        notes["*.*.*.bca95"] = f"the bootstrap interval is shown from {LEAST_PATIENTS_FOR_BCA} patients on"
    if compared and not any(each["p"] is not None for each in compared):
        notes["tests"] = str(compared[0]["note"])
    return notes


def _notes_on_features(distances: dict[str, Any] | None, st_lpips: dict[str, Any] | None) -> dict[str, str]:
    notes = {}
    if distances is None:
        notes["feature_distances"] = "KID and FID need the weights of their network (--feature-weights)"
    elif distances["n_images"] < 2:
        notes["feature_distances.methods.*"] = "KID and FID compare sets of images, and there is one image"
    if st_lpips is None:
        notes["st_lpips"] = "ST-LPIPS is measured on request (--st-lpips), with the package stlpips-pytorch"
    return notes


def _reason(measure: str) -> str:
    if measure == ST_LPIPS.measure:
        return "null where no slice of a patient has a pixel that the protocol measures"
    if "bias" in measure or "noise" in measure:
        return "null where no slice of a patient has enough pixels (100) of this tissue"
    return "null where no slice of a patient is in the means, or all equal their reference"


def _plain(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _plain(each, key) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (float, np.floating)):
        if name in _PROBABILITIES:
            return float(f"{value:.{_DIGITS}g}")
        return round(float(value), _DIGITS) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value

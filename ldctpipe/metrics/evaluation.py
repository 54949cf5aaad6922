"""From three folders of scans to a folder of figures: `ldctpipe evaluate`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ldctpipe.data.dose_order import exchanged_doses
from ldctpipe.data.scan_origin import manifest_of
from ldctpipe.data.scans import load_volumes
from ldctpipe.errors import InputError, UsageError
from ldctpipe.files import new_folder, write_json, write_text
from ldctpipe.metrics.cohort import PatientScans
from ldctpipe.metrics.compared_cohort import DenoisedScans, compared_cohort
from ldctpipe.metrics.endpoints import DEFAULT_PRIMARY
from ldctpipe.metrics.matching import MatchedSeries, in_common, match_series
from ldctpipe.metrics.multiqc import multiqc_table
from ldctpipe.metrics.protocols import Protocol
from ldctpipe.metrics.samples import SLICES_PER_PATIENT, Sample, samples_of, write_samples
from ldctpipe.metrics.slices import BASELINE, COLUMNS, slice_rows
from ldctpipe.metrics.summary import build_summary
from ldctpipe.metrics.table import printable_table
from ldctpipe.progress import Progress, warn
from ldctpipe.volumes.volume import Volume

if TYPE_CHECKING:
    from ldctpipe.metrics.feature_distance import FeatureDistances
    from ldctpipe.metrics.st_lpips import StLpips


@dataclass(frozen=True)
class _Measuring:
    """How to measure, and what needs a network, if asked for."""

    protocol: Protocol
    threads: int | None
    distances: FeatureDistances | None
    st_lpips: StLpips | None


@dataclass
class _Findings:
    rows: list[dict[str, Any]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    left_out_slices: int = 0


def evaluate_cohort(
    denoised: Path | Sequence[DenoisedScans],
    reference: Path,
    low_dose: Path,
    out: Path,
    protocol: Protocol,
    *,
    baseline: str = BASELINE,
    primary: str = DEFAULT_PRIMARY,
    seed: int = 1,
    threads: int | None = None,
    feature_weights: Path | None = None,
    st_lpips: bool = False,
    device: str = "auto",
    patient: str | None = None,
    overwrite: bool = False,
) -> str:
    """Measure `denoised` and `low_dose` against `reference`, write the folder `out`, and return the table to print.

    `denoised` is the path of one method, or several methods, which are compared on the slices that all have: with the
    one named `baseline`, by the `primary` measure first. `out` gets slices.csv, slices.parquet, summary.json,
    table.txt, results_mqc.tsv and samples.npz (of the first method), all or nothing. `patient` names the one patient.
    With `feature_weights`, a file for `FeatureDistances`, KID and FID are among the figures, and with `st_lpips` that
    measure, computed on `device`. See `metrics.cohort.patients_of` for what the inputs may be. Raises `InputError` for
    scans that do not fit together and for an `out` that already holds files, unless `overwrite`; `UsageError` for an
    unknown `baseline`.
    """
    methods = [DenoisedScans(denoised)] if isinstance(denoised, Path) else list(denoised)
    measuring = _Measuring(
        protocol,
        threads,
        _feature_distances(feature_weights, protocol, device, threads) if feature_weights else None,
        _st_lpips(protocol, device, threads) if st_lpips else None,
    )
    with new_folder(out, overwrite=overwrite, inputs=[*(one.path for one in methods), reference, low_dose]) as folder:
        cohort = compared_cohort(methods, reference, low_dose, patient)
        if baseline not in {BASELINE, *cohort.models} or list(cohort.models) == [baseline]:
            known = ", ".join([BASELINE, *(cohort.models if len(cohort.models) > 1 else ())])
            raise UsageError(None, f"--baseline {baseline} can't be compared with", f"choose one of {known}")
        findings = _Findings(warnings=list(cohort.warnings))
        for scans in cohort.patients:
            _evaluate_patient(scans, measuring, findings)
        slices = _as_table(findings.rows)
        summary = build_summary(
            slices,
            protocol,
            baseline=baseline,
            primary=primary,
            seed=seed,
            left_out_slices=findings.left_out_slices,
            left_out_patients=cohort.left_out,
            models=cohort.models,
            inputs=findings.inputs,
            feature_distances=measuring.distances.as_json(seed) if measuring.distances else None,
            st_lpips=measuring.st_lpips.as_json() if measuring.st_lpips else None,
            warnings=findings.warnings,
        )
        for warning in summary["warnings"]:
            warn(warning)
        table = printable_table(summary)
        slices.to_csv(folder / "slices.csv", index=False, float_format="%.6g")
        slices.to_parquet(folder / "slices.parquet", index=False)
        write_json(folder / "summary.json", summary)
        write_text(folder / "table.txt", table + "\n")
        write_text(folder / "results_mqc.tsv", multiqc_table(summary))
        write_samples(folder / "samples.npz", findings.samples)
    return table


def _feature_distances(weights: Path, protocol: Protocol, device: str, threads: int | None) -> FeatureDistances:
    from ldctpipe.devices import pick_device  # all other measures do without torch
    from ldctpipe.metrics.feature_distance import FeatureDistances

    return FeatureDistances(weights, protocol, pick_device(device, threads))


def _st_lpips(protocol: Protocol, device: str, threads: int | None) -> StLpips:
    from ldctpipe.devices import pick_device
    from ldctpipe.metrics.st_lpips import StLpips

    return StLpips(protocol, pick_device(device, threads))


def _evaluate_patient(methods: dict[str, PatientScans], measuring: _Measuring, findings: _Findings) -> None:
    first = next(iter(methods.values()))
    patient, threads = first.patient, measuring.threads
    low_dose, full_dose = load_volumes(first.low_dose, threads), load_volumes(first.full_dose, threads)
    denoised = {name: load_volumes(scans.denoised, threads) for name, scans in methods.items()}
    roles = {"denoised": denoised[first.method]} if len(methods) == 1 else denoised
    for role, volumes in {**roles, "low_dose": low_dose, "full_dose": full_dose}.items():
        findings.inputs.update({f"{patient}/{role}/{volume.key}": _sha256(volume) for volume in volumes})
    matches = {}
    for name, scans in methods.items():
        denoised[name] = _made_of_low_dose(scans, findings, denoised[name], low_dose, full_dose)
        matches[name] = match_series(denoised[name], low_dose, full_dose, derived=bool(scans.model))
        if not sum(map(len, matches[name])):
            fault = f"no slice of it is also in {scans.full_dose} and {scans.low_dose}"
            raise InputError(scans.denoised, fault, "give matching scans")
    series = in_common(matches)
    if not series:
        raise InputError(first.denoised, f"{_listed(methods)} have no slice in common", "give matching scans")
    _note_left_out(patient, [_left_out(matches[name], denoised[name], full_dose, series) for name in methods], findings)
    for match in series:
        one = match[first.method]
        if exchanged := exchanged_doses(one.low_dose, one.full_dose, one.low_index, one.full_index):
            findings.warnings.append(f"Patient {patient}: {exchanged}.")
    per_series = max(1, SLICES_PER_PATIENT // len(series))
    for match in series[:SLICES_PER_PATIENT]:
        findings.samples += samples_of(match[first.method], patient, per_series)
    for match in series:
        findings.rows += _measure(match, patient, measuring)
        if measuring.distances is not None:
            measuring.distances.add(match, patient)


def _left_out(
    matches: Sequence[MatchedSeries],
    denoised: Sequence[Volume],
    full_dose: Sequence[Volume],
    series: Sequence[Mapping[str, MatchedSeries]],
) -> int:
    """Return how many slices of one method are measured nowhere: no partner, or none in another method."""
    left_out = sum(match.left_out_slices for match in matches)
    for volumes, role in ((denoised, "denoised"), (full_dose, "full_dose")):  # series without any partner
        left_out += sum(len(volume.hu) for volume in volumes)
        left_out -= sum(len(getattr(match, role).hu) for match in matches)
    shared = sum(len(next(iter(match.values()))) for match in series)
    return left_out + sum(map(len, matches)) - shared


def _note_left_out(patient: str, by_method: Sequence[int], findings: _Findings) -> None:
    left_out = max(by_method)
    if left_out:
        findings.left_out_slices += left_out
        words = ("1 slice", "has", "was") if left_out == 1 else (f"{left_out} slices", "have", "were")
        fault = "{} of patient {} {} no partner and {} left out.".format(words[0], patient, *words[1:])
        findings.warnings.append(fault)


def _made_of_low_dose(
    scans: PatientScans,
    findings: _Findings,
    denoised: list[Volume],
    low_dose: list[Volume],
    full_dose: list[Volume],
) -> list[Volume]:
    """Leave out what was made from the full dose, where a whole cohort was denoised and its manifest tells that."""
    entries = manifest_of(scans.denoised).get("series", [])
    sources = {name: entry.get("key") for entry in entries for name in entry.get("files", {})}
    of_full_dose = {volume.key for volume in full_dose} - {volume.key for volume in low_dose}
    others = [one for one in denoised if {sources.get(file.name) for file in one.files} & of_full_dose]
    if len(others) == len(denoised):
        findings.warnings.append(f"Patient {scans.patient}: {scans.denoised} was made from the full dose.")
        return denoised
    if others:
        warn(f"{scans.denoised}: {len(others)} series made from the full dose are not measured")
    return [one for one in denoised if not any(one is other for other in others)]


def _measure(series: dict[str, MatchedSeries], patient: str, measuring: _Measuring) -> list[dict[str, Any]]:
    slices = len(next(iter(series.values())))
    progress = Progress(f"evaluate {patient}", slices, "slices")
    measure = partial(slice_rows, series, patient=patient, protocol=measuring.protocol)
    found: list[list[dict[str, Any]]] = []
    with ThreadPoolExecutor(measuring.threads) as pool:  # scipy's filters release the interpreter lock
        for rows in pool.map(measure, range(slices)):
            found.append(rows)
            progress.advance()
    progress.finish()
    if measuring.st_lpips is not None:
        for rows, values in zip(found, measuring.st_lpips.of_series(series, patient), strict=True):
            for row in rows:
                row["st_lpips"] = values[row["method"]]
    return list(chain.from_iterable(found))


def _as_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    columns = [*COLUMNS, *(["st_lpips"] if "st_lpips" in rows[0] else [])]
    table = pd.DataFrame(rows, columns=columns)
    numeric = [name for name in columns if name.endswith(("_hu", "_db", "_mm", "ssim", "st_lpips"))]
    return table.astype(dict.fromkeys(numeric, "float64"))


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)


def _sha256(volume: Volume) -> str:
    digest = hashlib.sha256()
    for one in volume.hu:
        digest.update(one.astype(one.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()

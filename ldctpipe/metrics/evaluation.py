"""From three folders of scans to a folder of figures: `ldctpipe evaluate`."""

from __future__ import annotations

import hashlib
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
from ldctpipe.errors import InputError
from ldctpipe.files import new_folder, write_json, write_text
from ldctpipe.metrics.cohort import PatientScans, patients_of, refuse_mixed_models
from ldctpipe.metrics.matching import MatchedSeries, match_series
from ldctpipe.metrics.multiqc import multiqc_table
from ldctpipe.metrics.protocols import Protocol
from ldctpipe.metrics.samples import SLICES_PER_PATIENT, Sample, samples_of, write_samples
from ldctpipe.metrics.slices import COLUMNS, slice_rows
from ldctpipe.metrics.summary import build_summary
from ldctpipe.metrics.table import printable_table
from ldctpipe.progress import Progress, warn
from ldctpipe.volumes.volume import Volume

if TYPE_CHECKING:
    from ldctpipe.metrics.feature_distance import FeatureDistances


@dataclass
class _Findings:
    rows: list[dict[str, Any]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    left_out_slices: int = 0


def evaluate_cohort(
    denoised: Path,
    reference: Path,
    low_dose: Path,
    out: Path,
    protocol: Protocol,
    *,
    seed: int = 1,
    threads: int | None = None,
    feature_weights: Path | None = None,
    device: str = "auto",
    patient: str | None = None,
    overwrite: bool = False,
) -> str:
    """Measure `denoised` and `low_dose` against `reference`, write the folder `out`, and return the table to print.

    `out` gets slices.csv, slices.parquet, summary.json, table.txt, results_mqc.tsv and samples.npz, all or nothing.
    `patient` names the one patient there is. With `feature_weights`, a file for `FeatureDistances`, KID and FID are
    among the figures, computed on `device`. See `metrics.cohort.patients_of` for what the three inputs may be. Raises
    `InputError` for scans that do not fit together and for an `out` that already holds files, unless `overwrite`.
    """
    distances = _feature_distances(feature_weights, protocol, device, threads) if feature_weights else None
    with new_folder(out, overwrite=overwrite, inputs=[denoised, reference, low_dose]) as folder:
        cohort = patients_of(denoised, reference, low_dose, patient)
        patients = cohort.patients
        method = refuse_mixed_models(patients)
        findings = _Findings(warnings=list(cohort.warnings))
        for scans in patients:
            _evaluate_patient(scans, protocol, threads, distances, findings)
        slices = _as_table(findings.rows)
        summary = build_summary(
            slices,
            protocol,
            seed=seed,
            left_out_slices=findings.left_out_slices,
            left_out_patients=cohort.left_out,
            models={method: patients[0].model},
            inputs=findings.inputs,
            feature_distances=distances.as_json(seed) if distances else None,
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


def _evaluate_patient(
    scans: PatientScans,
    protocol: Protocol,
    threads: int | None,
    distances: FeatureDistances | None,
    findings: _Findings,
) -> None:
    volumes = {
        "denoised": load_volumes(scans.denoised, threads),
        "low_dose": load_volumes(scans.low_dose, threads),
        "full_dose": load_volumes(scans.full_dose, threads),
    }
    for role, found in volumes.items():
        findings.inputs.update({f"{scans.patient}/{role}/{volume.key}": _sha256(volume) for volume in found})
    volumes["denoised"] = _made_of_low_dose(scans, findings, **volumes)
    matches = match_series(**volumes, derived=bool(scans.model))
    if not sum(map(len, matches)):
        raise InputError(
            scans.denoised, f"no slice of it is also in {scans.full_dose} and {scans.low_dose}", "give matching scans"
        )
    left_out = sum(match.left_out_slices for match in matches)
    for role in ("denoised", "full_dose"):  # series without any partner
        left_out += sum(len(volume.hu) for volume in volumes[role])
        left_out -= sum(len(getattr(match, role).hu) for match in matches)
    if left_out:
        findings.left_out_slices += left_out
        words = ("1 slice", "has", "was") if left_out == 1 else (f"{left_out} slices", "have", "were")
        fault = "{} of patient {} {} no partner and {} left out.".format(words[0], scans.patient, *words[1:])
        findings.warnings.append(fault)
    matches = [match for match in matches if len(match)]
    for match in matches:
        if exchanged := exchanged_doses(match.low_dose, match.full_dose, match.low_index, match.full_index):
            findings.warnings.append(f"Patient {scans.patient}: {exchanged}.")
    per_series = max(1, SLICES_PER_PATIENT // len(matches))
    for match in matches[:SLICES_PER_PATIENT]:
        findings.samples += samples_of(match, scans.patient, per_series)
    findings.rows += chain.from_iterable(_measure(match, scans, protocol, threads) for match in matches)
    if distances is not None:
        for match in matches:
            distances.add(match, scans.patient, scans.method)


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


def _measure(
    match: MatchedSeries, scans: PatientScans, protocol: Protocol, threads: int | None
) -> list[dict[str, Any]]:
    progress = Progress(f"evaluate {scans.patient}", len(match), "slices")
    measure = partial(slice_rows, match, patient=scans.patient, method=scans.method, protocol=protocol)
    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(threads) as pool:  # scipy's filters release the interpreter lock
        for found in pool.map(measure, range(len(match))):
            rows += found
            progress.advance()
    progress.finish()
    return rows


def _as_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numeric = [name for name in COLUMNS if name.endswith(("_hu", "_db", "_mm", "ssim"))]
    return table.astype(dict.fromkeys(numeric, "float64"))


def _sha256(volume: Volume) -> str:
    digest = hashlib.sha256()
    for one in volume.hu:
        digest.update(one.astype(one.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()

"""`ldctpipe evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Device, DeviceName, Overwrite, Quiet, Threads


def command(
    denoised: Annotated[
        Path, typer.Argument(help="Output of `ldctpipe denoise`: one scan, or one folder or NIfTI file per patient.")
    ],
    reference: Annotated[
        Path, typer.Argument(help="Full dose: one scan, a folder PATIENT[/full_dose] a patient, or a samplesheet.")
    ],
    out: Annotated[Path, typer.Argument(help="New folder for the figures.")],
    low_dose: Annotated[
        Path,
        typer.Option("--low-dose", help="Low dose: one scan, a folder PATIENT[/low_dose] a patient, or a samplesheet."),
    ],
    patient: Annotated[
        str | None,
        typer.Option(
            "--patient", metavar="NAME", help="Name of the one patient, in REFERENCE or for the figures (L506)."
        ),
    ] = None,
    protocol: Annotated[
        str, typer.Option("--protocol", help="How to measure; see `ldctpipe protocols`.")
    ] = "mayo-soft",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap intervals.")] = 1,
    feature_weights: Annotated[
        Path | None,
        typer.Option(
            "--feature-weights",
            metavar="FILE",
            help="Measure KID and FID too, with these weights: torch-fidelity's Inception.",
        ),
    ] = None,
    device: Device = DeviceName.AUTO,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Measure denoised scans and their low dose against the full dose, and print the table.

    Scans are DICOM, ingested cases or NIfTI. Patients are matched by name or by the UIDs of their source series, slices
    by geometry. OUT gets slices.csv and slices.parquet
    (one row per slice and method), summary.json (patients, cohort, intervals, tests), table.txt (the table printed),
    results_mqc.tsv (for MultiQC) and samples.npz (slices for the report).
    """
    from ldctpipe.metrics.evaluation import evaluate_cohort
    from ldctpipe.metrics.protocols import find_protocol

    print(
        evaluate_cohort(
            denoised,
            reference,
            low_dose,
            out,
            find_protocol(protocol),
            seed=seed,
            threads=threads,
            feature_weights=feature_weights,
            device=device.value,
            patient=patient,
            overwrite=overwrite,
        )
    )

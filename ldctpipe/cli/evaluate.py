"""`ldctpipe evaluate`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Device, DeviceName, Overwrite, Quiet, Threads


class Primary(str, Enum):
    """The measures that can be a primary endpoint."""

    PSNR = "psnr_db"
    SSIM = "ssim"
    RMSE = "rmse_hu"


def command(
    denoised: Annotated[
        Path,
        typer.Argument(
            metavar="[NAME=]DENOISED",
            help="Output of `ldctpipe denoise`: one scan, or one folder or NIfTI file per patient.",
        ),
    ],
    reference: Annotated[
        Path, typer.Argument(help="Full dose: one scan, a folder PATIENT[/full_dose] a patient, or a samplesheet.")
    ],
    out: Annotated[Path, typer.Argument(help="New folder for the figures.")],
    low_dose: Annotated[
        Path,
        typer.Option("--low-dose", help="Low dose: one scan, a folder PATIENT[/low_dose] a patient, or a samplesheet."),
    ],
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="[NAME=]DENOISED",
            help="Compare another method's output, on the patients and slices that all have; repeatable.",
        ),
    ] = None,
    baseline: Annotated[
        str, typer.Option("--baseline", metavar="NAME", help="Method that the others are compared with.")
    ] = "low_dose",
    primary: Annotated[
        Primary, typer.Option("--primary", help="Measure of the primary endpoint, chosen before measuring.")
    ] = Primary.PSNR,
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
    st_lpips: Annotated[
        bool, typer.Option("--st-lpips", help="Measure ST-LPIPS too (slow); needs `pip install 'ldctpipe[stlpips]'`.")
    ] = False,
    device: Device = DeviceName.AUTO,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Measure denoised scans and their low dose against the full dose, compare methods, and print the table.

    Scans are DICOM, ingested cases or NIfTI. Patients are matched by name or by the UIDs of their source series, slices
    by geometry. OUT gets slices.csv and slices.parquet
    (one row per slice and method), summary.json (patients, cohort, intervals, tests), table.txt (the table printed),
    results_mqc.tsv (for MultiQC) and samples.npz (slices for the report).
    """
    from ldctpipe.metrics.compared_cohort import named_scans
    from ldctpipe.metrics.evaluation import evaluate_cohort
    from ldctpipe.metrics.protocols import find_protocol

    print(
        evaluate_cohort(
            [named_scans(str(path)) for path in (denoised, *(also or ()))],
            reference,
            low_dose,
            out,
            find_protocol(protocol),
            baseline=baseline,
            primary=primary.value,
            seed=seed,
            threads=threads,
            feature_weights=feature_weights,
            st_lpips=st_lpips,
            device=device.value,
            patient=patient,
            overwrite=overwrite,
        )
    )

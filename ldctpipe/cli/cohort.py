"""`ldctpipe cohort`: many patients with one model, in tasks that can be killed and go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ldctpipe.cli.options import (
    Blend,
    Compress,
    DeidentificationKey,
    Deidentify,
    Device,
    DeviceName,
    KeepPrivate,
    Model,
    Nifti,
    Overwrite,
    Push,
    Quiet,
    Threads,
    output_form,
)
from ldctpipe.dicom.compression import Compression
from ldctpipe.errors import InputError, UsageError
from ldctpipe.progress import say

if TYPE_CHECKING:
    from ldctpipe.inference.cohort_scans import Scan
    from ldctpipe.inference.job import OutputForm

group = typer.Typer(help="Denoise many patients: plan tasks, denoise a group, list what became of every series.")

Cohort = Annotated[
    Path, typer.Argument(metavar="COHORT", help="Samplesheet or cohort folder, as `ldctpipe samplesheet` takes it.")
]
Staged = Annotated[
    Path | None,
    typer.Option("--staged", metavar="FOLDER", help="Where the scans lie, as 1/…, 2/… in the order of the patients."),
]
Mark = Annotated[
    Path | None,
    typer.Option("--results", metavar="LINK", help="A link to a file in the folder of results, if it can be reached."),
]
Mapping = Annotated[
    Path | None,
    typer.Option(
        "--mapping",
        metavar="FILE",
        help="With --deidentify: add the patients' names to this table, which only its owner can read.",
    ),
]


@group.command()
def plan(
    cohort: Cohort,
    out: Annotated[Path, typer.Argument(metavar="PLAN", help="CSV file to write.")],
    model: Model,
    task_slices: Annotated[int, typer.Option("--task-slices", min=1, help="Slices in a task, at most.")] = 4000,
    staged: Staged = None,
    records: Annotated[
        Path | None, typer.Option("--records", metavar="FOLDER", help="What became of patients in earlier runs.")
    ] = None,
    results: Mark = None,
    blend: Blend = 1.0,
    compress: Compress = Compression.NONE,
    nifti: Nifti = False,
    push: Push = None,
    deidentify: Deidentify = False,
    deidentification_key: DeidentificationKey = None,
    mapping: Mapping = None,
    keep_private: KeepPrivate = False,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write which patients are left to do, in groups of a task each: group,patient,series,slices,bytes,number.

    Left out are patients that an earlier run of the same model and settings finished, or refused, from the same files.
    Sizes are those of the headers; a patient with more slices than a task has is a task alone.
    """
    from ldctpipe.data.samplesheet import read_sheet
    from ldctpipe.files import refuse_existing
    from ldctpipe.inference.cohort_plan import groups_of, sized, unfinished, write_plan
    from ldctpipe.inference.cohort_record import job_key, read_records
    from ldctpipe.inference.cohort_scans import scans_of_cohort
    from ldctpipe.inference.job import Job
    from ldctpipe.provenance import run_time
    from ldctpipe.recipes.bundle import read_bundle

    refuse_existing(out, overwrite=overwrite, inputs=[cohort], starts=[b"group,patient"])
    form = output_form(compress, nifti, keep_private, deidentify, deidentification_key)
    _refuse_mapping(mapping, form, out)
    job = job_key(Job(read_bundle(model), blend, run_time(), form), push)
    patients = [row.patient for row in read_sheet(cohort, check_paths=False)] if staged else []
    scans = scans_of_cohort(staged or cohort, patients, form)
    _write_mapping(mapping, scans)
    left = unfinished(scans, read_records(records) if records else {}, job, form, results)
    groups = groups_of(sized(left, threads), task_slices)
    write_plan(out, groups)
    print(f"{len(scans)} patients: {len(scans) - len(left)} done before, {len(left)} to do in {len(groups)} task(s)")


@group.command()
def denoise(
    cohort: Cohort,
    out: Annotated[
        Path, typer.Argument(help="Folder of results: denoised/PATIENT, and records of what became of each.")
    ],
    model: Model,
    patients: Annotated[
        str, typer.Option("--patients", metavar="A,B", help="COHORT holds their scans as 1/…, 2/… in this order.")
    ] = "",
    results: Mark = None,
    blend: Blend = 1.0,
    compress: Compress = Compression.NONE,
    nifti: Nifti = False,
    push: Push = None,
    deidentify: Deidentify = False,
    deidentification_key: DeidentificationKey = None,
    mapping: Mapping = None,
    keep_private: KeepPrivate = False,
    device: Device = DeviceName.AUTO,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Denoise every patient of a cohort with one model, loaded once; each series is available as soon as it is done.

    Prints a line of counts at the end and exits with 0 even if patients were refused or failed; `ldctpipe cohort
    manifest` lists them. Finished series are not done again, so that the same command resumes after a kill.
    """
    say(f"loading the model {model}")  # with its libraries, which take some seconds
    from ldctpipe.inference.cohort import CohortRequest, denoise_cohort
    from ldctpipe.inference.cohort_manifest import rows_of, tally
    from ldctpipe.inference.cohort_record import refuse_named_records
    from ldctpipe.inference.cohort_scans import scans_of_cohort
    from ldctpipe.inference.denoise import DenoiseRequest

    form = output_form(compress, nifti, keep_private, deidentify, deidentification_key)
    _refuse_mapping(mapping, form, out)
    if form.deidentifier:
        refuse_named_records(out)
    scans = scans_of_cohort(cohort, [name for name in patients.split(",") if name], form, without=out)
    _write_mapping(mapping, scans)
    each = DenoiseRequest(cohort, out, model, blend, device.value, threads, form=form, push=push)
    records = {}
    for record in denoise_cohort(CohortRequest(scans, out, each, results)):
        records[record.patient] = record
        if record.reason:
            print(f"{record.patient}: {record.state}: {record.reason}")
        for outcome in record.series:
            if outcome.is_missing:
                print(f"{record.patient}: {outcome.state}: {outcome.title}: {outcome.reason}")
        for reason, count in record.skipped_files.items():
            print(f"{record.patient}: left out: {count} files: {reason}")
    if not patients:  # the counts of one task among many are of no use
        print(tally(rows_of(records, [])).sentence())


def _refuse_mapping(mapping: Path | None, form: OutputForm, out: Path) -> None:
    from ldctpipe.files import real_path
    from ldctpipe.inference.cohort_mapping import refuse_other_file

    if mapping is None:
        return
    if form.deidentifier is None:
        raise UsageError(None, "--mapping has no effect without --deidentify", "add --deidentify")
    if real_path(mapping).is_relative_to(real_path(out)):
        fault = "would lie in the results and undo their de-identification"
        raise UsageError(mapping, fault, "name a file elsewhere for --mapping")
    refuse_other_file(mapping)


def _write_mapping(mapping: Path | None, scans: Sequence[Scan]) -> None:
    from ldctpipe.inference.cohort_mapping import write_mapping

    if mapping:
        write_mapping(mapping, [(scan.patient, scan.source) for scan in scans])


@group.command()
def manifest(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder of results that has the records.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for manifest.json and manifest.csv.")],
    newer: Annotated[
        Path | None, typer.Option("--newer", metavar="FOLDER", help="Records that count before those in RESULTS.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="PLAN", help="Patients that were to be done; one without a record has failed."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """List what became of every series, over all tasks and runs, in `manifest.json` and `manifest.csv`."""
    from ldctpipe.files import refuse_existing
    from ldctpipe.inference.cohort_manifest import MANIFEST_START, rows_of, write_cohort_manifest
    from ldctpipe.inference.cohort_plan import planned_patients
    from ldctpipe.inference.cohort_record import RECORDS_FOLDER, read_records

    if not (results / RECORDS_FOLDER).is_dir():
        remedy = "give the folder that `ldctpipe cohort denoise` or the pipeline wrote"
        raise InputError(results, f"holds no folder {RECORDS_FOLDER} with records of patients", remedy)
    for name, start in (("manifest.json", MANIFEST_START), ("manifest.csv", b"patient,series,state")):
        refuse_existing(out / name, overwrite=overwrite, starts=[start])
    recent = read_records(newer) if newer else {}
    records = {**read_records(results / RECORDS_FOLDER, leave_out=recent), **recent}
    counts = write_cohort_manifest(out, rows_of(records, planned_patients(plan) if plan else []))
    print(f"{counts.sentence()}")


@group.command()
def check(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The manifest.json of a cohort.")],
    quiet: Quiet = False,
) -> None:
    """End with 65 where the manifest lists a series that was refused or failed, and with 0 where all are done."""
    from ldctpipe.inference.cohort_manifest import tally_in

    counts = tally_in(manifest)
    if counts.refused or counts.failed:
        raise InputError(None, counts.sentence(), "the manifest has the reason of each")
    print(counts.sentence())

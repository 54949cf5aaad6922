"""Which patient's series go into which output folder, and what of it an earlier run of the same job finished."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from ldctpipe.dicom.series import Series
from ldctpipe.errors import InputError
from ldctpipe.files import clear_leftovers, entries_in, resolved, safe_name, sha256_of_text
from ldctpipe.inference.job import Job, OutputForm
from ldctpipe.inference.manifest import DENOISED, MANIFEST, Earlier, SeriesOutcome, earlier_run, is_manifest, series_in


@dataclass(frozen=True)
class PatientFolder:
    """The series of the input that go into the folder `target`; `kept` are those that are done, by published key.

    `others` lie there from an earlier run and are not in this input. `run_time` is the time stamp of the earlier run,
    so that what is added to it tells of one run. `replaces` says whether the folder that is there may be replaced.
    """

    series: tuple[Series, ...]
    target: Path
    kept: dict[str, SeriesOutcome]
    others: tuple[SeriesOutcome, ...]
    run_time: datetime | None
    replaces: bool

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return len(self.kept) == len(self.series)

    @property
    def pending_slices(self) -> int:
        """Number of slices in series that are not done; exact where none or all are, which is nearly always."""
        slices = sum(len(series.slices) for series in self.series)
        return slices - sum(outcome.slices for outcome in self.kept.values())


def patient_folders(found: Iterable[Series], out: Path, job: Job, *, overwrite: bool) -> list[PatientFolder]:
    """Return where each patient's series go below `out`, sorted by the patients' keys.

    A patient keeps the folder that an earlier run gave it. Raises `InputError` where `out` holds something else.
    """
    ordered = sorted(found, key=lambda series: (series.patient_key, series.key))
    groups = [tuple(group) for _, group in groupby(ordered, key=lambda series: series.patient_key)]
    several = len(groups) > 1
    if several:
        _refuse_other_files(out, overwrite=overwrite)
    known = _folders_by_series(out) if several else {}
    return [_patient_folder(group, out, known if several else None, job, overwrite=overwrite) for group in groups]


def folder_of_series(series: Series, target: Path, job: Job) -> PatientFolder:
    """Return the patient's folder `target` with this one series to go into it, beside what the same job put there."""
    return _patient_folder((series,), target, None, job, overwrite=False)


def source_digest(series: Series, form: OutputForm) -> str:
    """Return what stands for the files of a series: their UIDs, sizes and times."""
    told = "\n".join(f"{image.sop_uid} {image.pixels.file_bytes} {image.pixels.modified_ns}" for image in series.slices)
    digest = sha256_of_text(told)
    return form.deidentifier.uid(digest) if form.deidentifier else digest


def _refuse_other_files(out: Path, *, overwrite: bool) -> None:
    """Raise where `out`, which is to hold a folder for each patient, holds one patient's output or foreign files."""
    if not out.exists():
        return
    if out.is_file() or is_manifest(out / MANIFEST):
        fault = "is a file" if out.is_file() else "holds the output of one patient, and the input has several"
        raise InputError(out, fault, "name another output folder")
    names = entries_in(out)
    if names and not overwrite and not any(is_manifest(out / name / MANIFEST) for name in names):
        raise InputError(out, "the output folder already holds other files", "name another one or add --overwrite")


def _folders_by_series(out: Path) -> dict[str, Path]:
    if not out.is_dir():
        return {}
    manifests = sorted(out.glob(f"*/{MANIFEST}"))
    return {outcome.key: path.parent for path in manifests for outcome in series_in(path)}


def _patient_folder(
    series: tuple[Series, ...], out: Path, known: dict[str, Path] | None, job: Job, *, overwrite: bool
) -> PatientFolder:
    keys = [job.form.published(one).key for one in series]
    if known is None:
        target = out
    else:
        target = next((known[key] for key in keys if key in known), out / _folder_name(series[0], job.form))
    clear_leftovers(resolved(target))  # what a killed run had ready belongs to what is judged here
    earlier = None if overwrite else earlier_run(target / MANIFEST, job)
    if earlier is None and not overwrite and target.exists() and (target.is_file() or entries_in(target)):
        remedy = "name another one or add --overwrite" if is_manifest(target / MANIFEST) else "name another one"
        raise InputError(out, "the output folder already holds other files", remedy)
    if earlier:
        _refuse_another_patient(earlier, job.form.published(series[0]).patient_key, keys, target)
    kept = _kept(earlier, series, keys, target, job.form) if earlier else {}
    others = (
        tuple(one for one in earlier.outcomes.values() if one.key not in keys and _is_there(one, target))
        if earlier
        else ()
    )
    run_time = earlier.run_time if earlier else None
    return PatientFolder(series, target, kept, others, run_time, overwrite or earlier is not None)


def _is_there(outcome: SeriesOutcome, folder: Path) -> bool:
    return all((folder / name).is_file() for name in outcome.files)


def _refuse_another_patient(earlier: Earlier, patient: str, keys: Sequence[str], target: Path) -> None:
    """Raise where a folder is another patient's; a patient's key may change with the studies found, series' don't."""
    if earlier.patient != patient and not any(key in earlier.outcomes for key in keys):
        raise InputError(target, "holds the output of another patient", "name another output folder")


def _kept(
    earlier: Earlier, series: Sequence[Series], keys: Sequence[str], target: Path, form: OutputForm
) -> dict[str, SeriesOutcome]:
    kept = {}
    for key, one in zip(keys, series, strict=True):
        outcome = earlier.outcomes.get(key)
        if outcome and outcome.state == DENOISED and outcome.stands(target, source_digest(one, form)):
            kept[key] = outcome
    return kept


def _folder_name(series: Series, form: OutputForm) -> str:
    """The patient's key; with its PatientID before it where identifiers are wanted, which alone may not be unique."""
    key = form.published(series).patient_key
    return f"{safe_name(series.patient_id)}-{key}" if form.keep_identifiers else key

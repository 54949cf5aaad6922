"""Many patients with one model, loaded once: each patient's results are delivered as soon as they are done."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ldctpipe import __version__
from ldctpipe.dicom.dicomweb import PacsError
from ldctpipe.dicom.discovery import NothingFound
from ldctpipe.errors import InputError, ReadError, UsageError
from ldctpipe.files import clear_leftovers
from ldctpipe.inference.cohort_record import (
    DENOISED_FOLDER,
    DONE,
    NOTHING,
    RECORDS_FOLDER,
    PatientRecord,
    job_key,
    read_record,
    results_beside,
    without_names,
    write_record,
)
from ldctpipe.inference.cohort_scans import Scan, scan_digest
from ldctpipe.inference.denoise import DenoiseRequest, DenoiseResult, denoise
from ldctpipe.inference.job import Job
from ldctpipe.inference.manifest import DENOISED, FAILED, MANIFEST, REFUSED, earlier_run
from ldctpipe.inference.model import Model
from ldctpipe.progress import tell, warn
from ldctpipe.provenance import run_time


@dataclass(frozen=True)
class CohortRequest:
    """What `ldctpipe cohort denoise` was asked for; `each` is the request for every scan, but for its paths.

    `mark` is a file of the folder of results, as `results_beside` takes it. Where that folder can be reached, results
    go there, and `out` gets only a copy of the records; else all goes to `out`, which has the same shape.
    """

    scans: Sequence[Scan]
    out: Path
    each: DenoiseRequest
    mark: Path | None = None


def denoise_cohort(request: CohortRequest) -> Iterator[PatientRecord]:
    """Denoise the scans in their order and yield what became of each, once its results and its record are there.

    What can't be denoised, or fails, keeps no other back. What has a final record of the same job and files isn't
    touched. Raises `OSError` where results can't be written.
    """
    each = request.each
    model = Model(each.model, each.device, each.threads)
    job = Job(model.bundle, each.blend, run_time(), each.form)
    results = results_beside(request.mark) or request.out
    for scan in request.scans:
        blank = PatientRecord(
            scan.patient, FAILED, scan_digest(scan, each.form), job_key(job, each.push), model.bundle.weights_sha256,
            job.settings,
        )  # fmt: skip
        record = _earlier(results, blank) or _denoise_scan(scan, results, each, model, job, blank)
        if each.form.deidentifier:
            record = without_names(record, (scan.source, scan.path.name, str(scan.path)))
        for place in {results, request.out}:
            write_record(place / RECORDS_FOLDER, record)
        yield record


def _earlier(results: Path, wanted: PatientRecord) -> PatientRecord | None:
    """Return the final record that an earlier attempt left, if its files are there."""
    found = read_record(results / RECORDS_FOLDER / f"{wanted.patient}.json")
    is_same = found is not None and (found.scan, found.job, found.is_final) == (wanted.scan, wanted.job, True)
    return found if found and is_same and all((results / file).is_file() for file in found.files) else None


def _denoise_scan(
    scan: Scan, results: Path, each: DenoiseRequest, model: Model, job: Job, blank: PatientRecord
) -> PatientRecord:
    started = time.monotonic()
    target = results / DENOISED_FOLDER / scan.patient
    clear_leftovers(target)  # a kill between two renames has set the folder aside
    request = replace(each, input=scan.path, out=target, each_series=True, overwrite=_holds_other_job(target, job))
    try:
        record = _with_result(blank, denoise(request, model), results)
    except PacsError as error:  # all is there, but not in the archive: another run sends what is missing
        record = replace(_with_result(blank, denoise(replace(request, push=None), model), results), state=FAILED)
        record = replace(record, reason=f"{error.fault}; {error.remedy}")
    except NothingFound as error:
        record = replace(blank, state=NOTHING, reason=f"{error.fault}; {error.remedy}")
    except InputError as error:
        state = REFUSED if _is_of_input(error, target) else FAILED
        record = replace(blank, state=state, reason=f"{error.fault}; {error.remedy}")
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - a bug with one patient is told in full, and the others get theirs
        tell(traceback.format_exc())
        record = replace(blank, reason=f"a bug in ldctpipe {__version__}: {type(error).__name__}")
    if record.reason:
        warn(f"{scan.patient}: {record.state}: {record.reason}")
    return replace(record, seconds=round(time.monotonic() - started, 2))


def _is_of_input(error: InputError, target: Path) -> bool:
    """Tell whether a scan will be refused again as long as its files stay unchanged.

    Files that can't be read now may be readable in the next run, and obstacles to the results may be gone by then.
    """
    if isinstance(error, (ReadError, UsageError)):
        return False
    return error.path is None or not Path(error.path).is_relative_to(target)


def _with_result(blank: PatientRecord, result: DenoiseResult, results: Path) -> PatientRecord:
    series = tuple(replace(one, state=one.state if one.is_missing else DENOISED) for one in result.outcomes)
    state = DONE if any(one.state == DENOISED for one in series) else REFUSED
    if result.failed or result.unread:
        state = FAILED
    folders = {key: str(folder.relative_to(results)) for key, folder in result.folders.items()}
    record = replace(blank, state=state, series=series, folders=folders, skipped_files=result.skipped)
    return replace(record, reason=_unread_reason(result)) if result.unread else record


def _unread_reason(result: DenoiseResult) -> str:
    """Why no result of a patient is final, without the names of files."""
    reasons = "; ".join(dict.fromkeys(skip.reason for skip in result.unread))
    return f"{len(result.unread)} file(s) or folder(s) {reasons}, so series may lack slices; {result.unread[0].remedy}"


def _holds_other_job(target: Path, job: Job) -> bool:
    """Tell whether what lies at `target` is of a job that this one replaces: another model, other settings."""
    manifests = list(target.glob(f"*{MANIFEST}"))
    return bool(manifests) and all(earlier_run(manifest, job) is None for manifest in manifests)

"""Derived series to a PACS: sent by STOW-RS (PS3.18 §10.5) in bounded batches, then looked up by QIDO-RS (§10.6)."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from ldctpipe.dicom.dicomweb import GIVE_ROOT, TIMEOUTS_S, PacsError, Service, refused, service_at
from ldctpipe.dicom.exchange import Answer
from ldctpipe.dicom.uids import IMPLEMENTATION_CLASS_UID
from ldctpipe.errors import InputError
from ldctpipe.progress import warn

_BATCH_BYTES = 32 << 20
_BATCH_FILES = 100
_LEAST_ERROR = 400  # of the statuses of HTTP
_LONGEST_LISTING_S = 1800.0  # of one series, in however many pages
_LOOKS, _LOOK_EVERY_S = 4, 2.0  # some archives list an image only moments after they took it

# PS3.18 table I.2-2 and PS3.4 table B.2-1; ranges by their first word.
_FAILURES = {
    0x0110: "processing failure",
    0x0122: "its SOP class is not supported",
    0x0124: "not authorised",
    0x0117: "invalid SOP instance",
    0xA700: "out of resources",
    0xA900: "the data set does not fit its SOP class",
    0xC000: "the data set can't be understood",
    0xC122: "its transfer syntax is not supported",
}
_ALREADY_THERE = {0x0111, 0xB00E}  # duplicate SOP instance, in the standard's and in a common server's words
_WARNINGS = {
    0xB000: "changed data elements",
    0xB006: "left out data elements",
    0xB007: "found that the data set does not fit its SOP class",
}


@dataclass(frozen=True)
class _Instance:
    """An image of ours on disk, and the UIDs under which a PACS keeps it."""

    path: Path
    size_bytes: int
    study_uid: str
    series_uid: str
    sop_uid: str


def check(url: str) -> None:
    """Return when a DICOMweb service that knows us answers at `url`; sends and fetches nothing of a patient.

    Raises `UsageError` for a bad URL and `PacsError` where nothing, or no such service, answers.
    """
    _page(service_at(url), "studies", {"StudyInstanceUID": "2.25.0"})  # which no archive has


def push(files: Sequence[Path], url: str, *, on_sent: Callable[[int], None]) -> None:
    """Store `files`, written by ldctpipe, in the PACS at the DICOMweb root `url`; return when it lists them all.

    Files go as they lie on disk, whatever their transfer syntax. `on_sent` gets the number of files of each batch that
    was taken. Pushing again is safe: the same UIDs stand for the same images; how many the server had already, and may
    not have replaced, is warned of. Raises `UsageError` for a bad URL,
    `InputError` for a file that ldctpipe did not write, `PacsError` where the server can't be reached, refuses, or
    has not stored every image.
    """
    service = service_at(url)
    instances = [_instance(path) for path in files]
    sent = 0

    def count(taken: int) -> None:
        nonlocal sent
        sent += taken
        on_sent(taken)

    try:
        duplicates = _send(service, instances, count)
        _verify(service, instances)
    except PacsError as error:
        raise service.fault(f"{error.fault} ({sent} of {len(instances)} images were taken)", error.remedy) from None
    if duplicates:
        had = f"the server had {duplicates} of {len(instances)} images already under the same UIDs"
        warn(f"{service.root}: {had} and may have kept its own copies; delete them there first where those differ")


def _instance(path: Path) -> _Instance:
    wanted = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    image = pydicom.dcmread(path, specific_tags=list(wanted), stop_before_pixels=True)
    if image.file_meta.get("ImplementationClassUID") != IMPLEMENTATION_CLASS_UID:
        raise InputError(path, "was not written by ldctpipe", "push only what it wrote")
    study, series, sop = (str(image[keyword].value) for keyword in wanted)
    return _Instance(path, path.stat().st_size, study, series, sop)


def _send(service: Service, instances: Sequence[_Instance], on_sent: Callable[[int], None]) -> int:
    """Store all in batches, smaller ones where a server takes less at once (413, as many proxies from 1 MiB on).

    Returns how many the server says that it had already.
    """
    start, most, duplicates = 0, _BATCH_FILES, 0
    while start < len(instances):
        batch = _batch(instances[start:], most)
        answer = _post(service, batch)
        if answer.status == 413 and len(batch) > 1:
            most = len(batch) // 2
            continue
        duplicates += _require_stored(service, answer, len(batch))
        start += len(batch)
        on_sent(len(batch))
    return duplicates


def _batch(instances: Sequence[_Instance], most: int) -> Sequence[_Instance]:
    """Return the first of `instances`: at most `most` of them and `_BATCH_BYTES`, but one at least."""
    size_bytes = 0
    for count, instance in enumerate(instances[:most]):
        size_bytes += instance.size_bytes
        if count and size_bytes > _BATCH_BYTES:
            return instances[:count]
    return instances[:most]


def _post(service: Service, batch: Iterable[_Instance]) -> Answer:
    """Return the answer to one store request (PS3.18 §10.5.1).

    A part names no transfer syntax, which each file states itself: Orthanc 1.10 drops parts that do, and answers 200.
    """
    boundary = secrets.token_hex(16)
    opening = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    parts = (part for instance in batch for part in (opening, instance.path.read_bytes(), b"\r\n"))
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
    }
    body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    return service.ask("POST", "studies", data=body, headers=headers, timeout=TIMEOUTS_S)


def _require_stored(service: Service, answer: Answer, count: int) -> int:
    """Return how many images were there already by the answer to a store request (PS3.18 §10.5.3).

    Raises where it speaks of one that was not stored, for whatever other reason.
    An answer without a readable body says nothing: what is stored is looked up afterwards.
    """
    results = _results(answer)
    reasons = _reasons(results, "FailedSOPSequence", "FailureReason", default=0x0110)
    failures = Counter({code: times for code, times in reasons.items() if code not in _ALREADY_THERE})
    if failures:
        code = failures.most_common(1)[0][0]
        fault = f"did not store {failures.total()} of {count} images: {_meaning(code, _FAILURES)} ({code:04X})"
        raise service.fault(fault)
    if answer.status >= _LEAST_ERROR and not reasons:
        raise refused(service, answer.status)
    warnings = _reasons(results, "ReferencedSOPSequence", "WarningReason")
    for code in sorted(warnings.keys() - _ALREADY_THERE):
        warn(f"{service.root}: the server {_meaning(code, _WARNINGS)} of {warnings[code]} images ({code:04X})")
    return sum((reasons + warnings)[code] for code in _ALREADY_THERE)


def _results(answer: Answer) -> pydicom.Dataset:
    try:
        found = json.loads(answer.content)
        return pydicom.Dataset.from_json(found[0] if isinstance(found, list) else found)
    except Exception:  # noqa: BLE001 - whatever a foreign server sends, in whatever way it is no DICOM JSON
        return pydicom.Dataset()


def _reasons(results: pydicom.Dataset, sequence: str, reason: str, default: int | None = None) -> Counter[int]:
    """Return how often each reason is given in a sequence, with `default` for its items that give none."""
    codes = (item.get(reason, default) for item in results.get(sequence) or [])
    return Counter(int(code) for code in codes if code is not None)


def _meaning(code: int, meanings: dict[int, str]) -> str:
    for known in (code, code & 0xFF00, code & 0xF000):
        if known in meanings:
            return meanings[known]
    return "for a reason that the standard does not know" if meanings is _FAILURES else "warns"


def _verify(service: Service, instances: Iterable[_Instance]) -> None:
    """Raise unless the service lists every image in its study and series."""
    series: dict[tuple[str, str], set[str]] = defaultdict(set)
    for instance in instances:
        series[instance.study_uid, instance.series_uid].add(instance.sop_uid)
    missing = sum(len(_missing(service, *uids, wanted)) for uids, wanted in series.items())
    if missing:
        raise service.fault(f"took the images, but does not list {missing} of them")


def _missing(service: Service, study_uid: str, series_uid: str, wanted: set[str]) -> set[str]:
    missing = wanted - _found(service, study_uid, series_uid, len(wanted))
    for look in range(1, _LOOKS):
        if not missing:
            break
        time.sleep(_LOOK_EVERY_S * look)
        missing -= _found(service, study_uid, series_uid, len(wanted))
    return missing


def _found(service: Service, study_uid: str, series_uid: str, expected: int) -> set[str]:
    """Return the SOP instance UIDs that the service lists in a series, page by page until `expected` or no new ones."""
    found: set[str] = set()
    ends = time.monotonic() + _LONGEST_LISTING_S
    while True:
        offset = {"offset": len(found)} if found else {}
        page = _page(service, f"studies/{study_uid}/series/{series_uid}/instances", offset)
        if page <= found or len(found | page) >= expected:
            return found | page
        found |= page
        if time.monotonic() > ends:
            raise service.fault(f"was not done listing the images of one series within {_LONGEST_LISTING_S:g} s")


def _page(service: Service, path: str, query: dict[str, Any]) -> set[str]:
    """Return the SOP instance UIDs in one answer to a query (PS3.18 §10.6)."""
    headers = {"Accept": "application/dicom+json"}
    answer = service.ask("GET", path, params=query, headers=headers, timeout=TIMEOUTS_S)
    if answer.status >= _LEAST_ERROR:
        raise refused(service, answer.status)
    try:
        listed = json.loads(answer.content) if answer.content else []
        return {item["00080018"]["Value"][0] for item in listed}
    except (ValueError, LookupError, TypeError, RecursionError):
        raise service.fault("answers a query with something that is no DICOM JSON", GIVE_ROOT) from None

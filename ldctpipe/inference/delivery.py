"""Finished series to a PACS, each once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ldctpipe.dicom.dicomweb import PacsError, service_at
from ldctpipe.dicom.pacs import push
from ldctpipe.inference.manifest import SeriesOutcome, note_sent, series_in
from ldctpipe.progress import Progress, say, warn

_FAILURES_IN_A_ROW = 3  # a PACS may refuse one series and take the next, but not this many


def deliver(manifests: Sequence[Path], url: str) -> None:
    """Send the DICOM files of the manifests that are there to the DICOMweb root `url`, and note it for each series.

    What a manifest says was sent there before isn't sent again. A series that the PACS refuses doesn't keep the next
    ones back. Raises `PacsError` at the end where any was refused, and what else `push` raises.
    """
    destination = service_at(url).root
    waiting = [
        (path, outcome)
        for path in manifests
        if path.is_file()
        for outcome in series_in(path)
        if _images(path, outcome) and destination not in outcome.sent_to
    ]
    if not waiting:
        say(f"{destination}: has everything already")
        return
    progress = Progress("sending", sum(len(_images(path, outcome)) for path, outcome in waiting), "files")
    failures: list[PacsError] = []
    in_a_row = 0
    for path, outcome in waiting:
        try:
            push(_images(path, outcome), url, on_sent=progress.advance)
            note_sent(path, outcome, destination)
            in_a_row = 0
        except PacsError as error:
            warn(f"series {outcome.key} not sent: {error}")
            failures.append(error)
            in_a_row += 1
        if in_a_row == _FAILURES_IN_A_ROW:
            break
    progress.finish()
    if failures:
        last = failures[-1]
        fault = last.fault if len(waiting) == 1 else f"{len(failures)} of {len(waiting)} series not taken: {last.fault}"
        raise PacsError(destination, fault, last.remedy)


def _images(manifest: Path, outcome: SeriesOutcome) -> list[Path]:
    return [manifest.parent / name for name in outcome.files if name.endswith(".dcm")]

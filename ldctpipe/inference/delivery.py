"""Finished folders to a PACS, each once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ldctpipe.dicom.dicomweb import service_at
from ldctpipe.dicom.pacs import push
from ldctpipe.inference.manifest import dicom_files, note_sent, was_sent
from ldctpipe.progress import Progress, say


def deliver(manifests: Sequence[Path], url: str) -> None:
    """Send the DICOM files of the manifests that are there to the DICOMweb root `url`, and note it in each.

    What a manifest says was sent there before isn't sent again. Raises what `push` raises; a patient is noted as sent
    only when the PACS holds all of its files.
    """
    destination = service_at(url).root
    waiting = [path for path in manifests if path.is_file() and not was_sent(path, destination)]
    if not waiting:
        say(f"{destination}: has everything already")
        return
    progress = Progress("sending", sum(len(dicom_files(path)) for path in waiting), "files")
    for path in waiting:
        push(dicom_files(path), url, on_sent=progress.advance)
        note_sent(path, destination)
    progress.finish()

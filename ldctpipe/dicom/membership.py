"""Which series a file belongs to that can't be used itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ldctpipe.dicom.scanning import Scan

_MODALITY = re.compile(r"[A-Z0-9_]{1,16}")  # VR CS, PS3.5 §6.2; anything else could be anything


@dataclass(frozen=True)
class Membership:
    """The series of a DICOM object, of whatever kind, and its modality ("?" where the header has none)."""

    series_uid: str
    modality: str


def membership_of(found: Scan) -> Membership | None:
    """Return which series the object that was scanned says it belongs to, or None where it says nothing."""
    series_uid, modality = found.attributes.text("SeriesInstanceUID"), found.attributes.text("Modality")
    return Membership(series_uid, modality if _MODALITY.fullmatch(modality) else "?") if series_uid else None

"""Which series a file belongs to that can't be used itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ldctpipe.dicom.rejection import Rejected
from ldctpipe.dicom.scanning import scan

_KEYWORDS = ("SpecificCharacterSet", "SeriesInstanceUID", "Modality")
_MODALITY = re.compile(r"[A-Z0-9_]{1,16}")  # VR CS, PS3.5 §6.2; anything else could be anything


@dataclass(frozen=True)
class Membership:
    """The series of a DICOM object, of whatever kind, and its modality ("?" where the header has none)."""

    series_uid: str
    modality: str


def membership_of(path: Path) -> Membership | None:
    """Return which series the object at `path` says it belongs to, or None where it says nothing or can't be read."""
    try:
        given = scan(path, _KEYWORDS).attributes
        series_uid, modality = given.text("SeriesInstanceUID"), given.text("Modality")
    except Rejected:
        return None
    return Membership(series_uid, modality if _MODALITY.fullmatch(modality) else "?") if series_uid else None

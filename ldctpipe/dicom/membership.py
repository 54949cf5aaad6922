"""Which series a file belongs to that can't be used itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pydicom

from ldctpipe.dicom.opening import looks_like_dicom

_KEYWORDS = ["SeriesInstanceUID", "Modality"]
_MODALITY = re.compile(r"[A-Z0-9_]{1,16}")  # VR CS, PS3.5 §6.2; anything else could be anything


@dataclass(frozen=True)
class Membership:
    """The series of a DICOM object, of whatever kind, and its modality ("?" where the header has none)."""

    series_uid: str
    modality: str


def membership_of(path: Path) -> Membership | None:
    """Return which series the object at `path` says it belongs to, or None where it says nothing or can't be read."""
    if not looks_like_dicom(path):
        return None
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_KEYWORDS))
        series_uid, modality = (str(header.get(keyword) or "").strip("\0 ") for keyword in _KEYWORDS)
    except Exception:  # noqa: BLE001 - a parser of foreign bytes fails in any way there is
        return None
    return Membership(series_uid, modality if _MODALITY.fullmatch(modality) else "?") if series_uid else None

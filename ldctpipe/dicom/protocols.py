"""Which images of a kind share frame of reference, kernel and tube voltage, although some headers lack or fake them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ldctpipe.dicom.geometry import SAME_POSITION_MM
from ldctpipe.dicom.headers import Header
from ldctpipe.dicom.rejection import Rejection, lacking

Group = list[Header]

_ATTRIBUTES: dict[str, Callable[[Header], object]] = {
    "frame of reference": lambda header: header.frame_of_reference_uid,
    "kernel": lambda header: header.acquisition.kernel,
    "tube voltage": lambda header: header.acquisition.kvp,
}
_LEAST_FRAMES = 3


@dataclass(frozen=True)
class Part:
    """Images that may be one volume, what is odd about them, and why they can't be one, if so."""

    headers: Group
    warnings: tuple[str, ...] = ()
    refusal: Rejection | None = None


def split_by_protocol(headers: Group) -> list[Part]:
    """Return `headers` of one kind by frame of reference, kernel and tube voltage.

    Images without a value belong to the others if these share one value. If there are several values, they are a scan
    of their own if all of the others have images at their positions; else their scan is unknown, and they are
    refused. A separate frame of reference for each file comes from an anonymizer, and is ignored.
    """
    parts = [Part(headers)]
    for name, value in _ATTRIBUTES.items():
        parts = [finer for part in parts for finer in ([part] if part.refusal else _split(part, name, value))]
    return parts


def frame_of(headers: Sequence[Header]) -> str | None:
    """Return the frame of reference of the images of one series; None if each has a different one."""
    frames = {header.frame_of_reference_uid for header in headers} - {None}
    return frames.pop() if len(frames) == 1 else None


def _split(part: Part, name: str, value: Callable[[Header], object]) -> list[Part]:
    groups: dict[object, Group] = {}
    for header in part.headers:
        groups.setdefault(value(header), []).append(header)
    silent = groups.pop(None, [])
    if name == "frame of reference" and _has_one_for_each_file(groups):
        return [Part(part.headers, (*part.warnings, "each file has a different frame of reference"))]
    if len(groups) <= 1:
        warning = f"{len(silent)} of {len(part.headers)} images have no {name}"
        return [Part(part.headers, (*part.warnings, warning) if silent and groups else part.warnings)]
    parts = [Part(group, part.warnings) for group in groups.values()]
    if silent:
        refusal = None if all(_lie_where(silent, group) for group in groups.values()) else lacking(name)
        parts.append(Part(silent, part.warnings, refusal))
    return parts


def _has_one_for_each_file(groups: dict[object, Group]) -> bool:
    return len(groups) >= _LEAST_FRAMES and 2 * len(groups) > sum(map(len, groups.values()))


def _lie_where(headers: Group, others: Group) -> bool:
    """Tell whether all of `headers` lie at places of `others`, so that they are not what is missing there."""
    places_mm = np.sort([header.position_mm for header in others])
    wanted_mm = np.array([header.position_mm for header in headers])
    right = np.searchsorted(places_mm, wanted_mm).clip(1, len(places_mm) - 1) if len(places_mm) > 1 else None
    if right is None:
        return bool((np.abs(wanted_mm - places_mm[0]) < SAME_POSITION_MM).all())
    nearest_mm = np.minimum(np.abs(wanted_mm - places_mm[right]), np.abs(wanted_mm - places_mm[right - 1]))
    return bool((nearest_mm < SAME_POSITION_MM).all())

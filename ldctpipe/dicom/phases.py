"""Several scans of one place under one UID: contrast phases, phases of the heartbeat, repeated acquisitions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.geometry import SAME_POSITION_MM, at_same_position
from ldctpipe.dicom.headers import Header

Group = list[Header]
Attribute = Callable[[Header], str]

# Which scan an image is from. These tell scans apart also where no position is taken twice.
_SCAN_ATTRIBUTES: tuple[Attribute, ...] = (
    lambda header: header.temporal_position,
    lambda header: header.acquisition_number,
)
# What tells phases apart, tried in this order; scanners vary the last ones along a scan, too.
_PHASE_ATTRIBUTES: tuple[Attribute, ...] = (
    *_SCAN_ATTRIBUTES,
    lambda header: "\\".join(header.acquisition.image_type),
    lambda header: header.cardiac_phase,
    lambda header: header.trigger_time,
    lambda header: header.acquisition_time,
)
_SHARED_SLICES = 2  # one alone is where one scan ends and the next begins, or a slice that was taken again
_MOST_PHASES_A_PLACE = 2


def split_by_phase(headers: Group) -> list[Group]:
    """Return `headers` of one kind as the phases that they are, each for one volume; mostly there is just one.

    Where positions are taken twice, the attribute that leaves fewest so tells the phases apart. Where none does,
    phases are different scans of one place, shifted against each other by less than a slice distance.
    """
    doubles = _doubles([headers])
    best = min(_splits(headers, _PHASE_ATTRIBUTES), key=_doubles, default=[headers]) if doubles else [headers]
    if _doubles(best) == doubles:
        best = next(_splits(headers, _SCAN_ATTRIBUTES), [headers])
    return [part for phase in best for part in split_by_phase(phase)] if len(best) > 1 else best


def _splits(headers: Group, attributes: Sequence[Attribute]) -> Iterator[list[Group]]:
    return (split for attribute in attributes if len(split := _phases(headers, attribute)) > 1)


def _doubles(split: Sequence[Group]) -> int:
    return sum(len(in_slice_order(phase)[1]) for phase in split)


def in_slice_order(headers: Group) -> tuple[Group, Group]:
    """Return slices by position, and the images whose position another one holds already."""
    kept: Group = []
    doubles: Group = []
    for header in sorted(headers, key=lambda header: (header.position_mm, header.sop_uid)):
        taken = bool(kept) and at_same_position(kept[-1].position_mm, header.position_mm)
        (doubles if taken else kept).append(header)
    return kept, doubles


def _phases(headers: Group, attribute: Attribute) -> list[Group]:
    """The phases by `attribute`: a value whose slices lie among those of another value is one.

    Values that share no place with another follow each other along one scan (stations, or the numbers of a scanner that
    counts rotations or slices as acquisitions); they stay with the first phase. Nothing is a phase where the values
    that share places are many more than there are at any one place: times that run through a scan.
    """
    scans = [list(group) for _, group in itertools.groupby(sorted(headers, key=attribute), key=attribute)]
    if len(scans) == 1:
        return scans
    positions_mm = [np.sort([header.position_mm for header in scan]) for scan in scans]
    is_phase = _share_places(positions_mm, min(_SHARED_SLICES, len(in_slice_order(headers)[0])))
    phases = list(itertools.compress(scans, is_phase))
    if not 1 < len(phases) <= _MOST_PHASES_A_PLACE * _most_at_a_place(list(itertools.compress(positions_mm, is_phase))):
        return [headers]
    alone = itertools.chain.from_iterable(itertools.compress(scans, ~is_phase))
    return [[*phases[0], *alone], *phases[1:]]


def _share_places(positions_mm: Sequence[npt.NDArray[np.float64]], slices: int) -> npt.NDArray[np.bool_]:
    """Which scans have `slices` slices in the range of another one that has as many in theirs."""
    lows = np.array([each[0] for each in positions_mm]) - SAME_POSITION_MM
    highs = np.array([each[-1] for each in positions_mm]) + SAME_POSITION_MM
    within = [np.searchsorted(each, highs, "right") - np.searchsorted(each, lows) >= slices for each in positions_mm]
    shared = np.array(within) & np.array(within).T
    np.fill_diagonal(shared, val=False)
    return np.asarray(shared.any(axis=1))


def _most_at_a_place(positions_mm: Sequence[npt.NDArray[np.float64]]) -> int:
    """How many scans there are at most whose range one slice lies in."""
    if not positions_mm:
        return 0
    lows = np.sort([each[0] for each in positions_mm]) - SAME_POSITION_MM
    highs = np.sort([each[-1] for each in positions_mm]) + SAME_POSITION_MM
    places = np.concatenate(positions_mm)
    return int((np.searchsorted(lows, places, "right") - np.searchsorted(highs, places)).max())

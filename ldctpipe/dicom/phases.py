"""Several scans of one place under one UID: contrast phases, phases of the heartbeat, repeated acquisitions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ldctpipe.dicom.headers import SCAN_MARKS, Header
from ldctpipe.dicom.passes import joined_stations, passes
from ldctpipe.dicom.places import beyond_gap, fill_holes, off_grid, two_grids
from ldctpipe.dicom.stacking import Codes, Stack, Values, stack_of, sweeps
from ldctpipe.volumes.stack_shape import whole_steps

Group = list[Header]
Attribute = Callable[[Header], str]

# Which scan an image is from.
_SCAN_ATTRIBUTES: tuple[Attribute, ...] = (
    lambda header: header.temporal_position,
    lambda header: header.acquisition_number,
)
# What tells phases apart, tried in this order.
_PHASE_ATTRIBUTES: tuple[Attribute, ...] = (
    *_SCAN_ATTRIBUTES,
    lambda header: "\\".join(header.acquisition.image_type),
    lambda header: header.cardiac_phase,
    lambda header: header.trigger_time,
)
# Scanners vary these along a scan, too.
_TIMES: tuple[Attribute, ...] = (
    lambda header: f"{header.acquisition_date} {header.acquisition_time}",
    lambda header: f"{header.content_date} {header.content_time}",
)


def _mark(number: int) -> Attribute:
    return lambda header: header.scan_marks[number]


# What scans and reconstructions may differ in besides.
_MARKS: tuple[Attribute, ...] = (
    lambda header: header.frame_of_reference_uid or "",
    lambda header: header.acquisition.kernel or "",
    lambda header: str(header.acquisition.kvp),
    lambda header: str(header.series_number),
    lambda header: str(header.acquisition.slice_thickness_mm),
    *map(_mark, range(len(SCAN_MARKS))),
)

_MOST_PARTS_A_PLACE = 2
_LONG_PART = 6  # slices; so many in most parts are no accident
_MOST_ALONE = 2  # more parts that share no place with others are rotations of one scan, counted as acquisitions
_MOST_SKIPPED = 0.1  # of the images, of which another scan has places in between
_MOST_SWEEPS = 3.0  # of time or number along one scan: a reconstruction that runs on several cores is out of order
_ONE_SWEEP = 1.000001
_LEAST_SHIFTED = 3  # places beside the first: three of one scan and one of another
_OVERLAP = 1.05


def doubles(headers: Sequence[Header]) -> int:
    """Return how many images lie where another one lies already."""
    return stack_of(headers).doubles()


def places_taken_twice(headers: Sequence[Header]) -> int:
    """Return at how many places several of `headers` lie."""
    return int((stack_of(headers).images_at_each_place > 1).sum())


def acquisition_warning(headers: Sequence[Header]) -> tuple[str, ...]:
    """Return a sentence where acquisition numbers of one volume go to and fro along it, else nothing."""
    by_position = sorted(headers, key=lambda header: header.position_mm)
    runs = [number for number, _ in itertools.groupby(header.acquisition_number for header in by_position)]
    return ("acquisition numbers alternate from slice to slice",) if len(runs) > len(set(runs)) else ()


def split_by_phase(headers: Group) -> list[Group]:
    """Return `headers` of one kind as the scans that they are, each for one volume; mostly there is just one.

    Where places are taken twice, the scans are told apart by an attribute or by the order of acquisition, such that
    none has a place twice. What nothing tells apart comes back as a group that has (see `doubles`). Where no place is
    taken twice, there are several scans only if they lie shifted against each other by less than a slice distance.
    """
    if len(headers) == 1:
        return [headers]
    stack = stack_of(headers)
    codes = _apart(stack) if stack.doubles() else None
    if codes is None and stack.places.max() >= _LEAST_SHIFTED:
        codes = _shifted(stack)
    if codes is None:
        codes = beyond_gap(stack, _labels(stack, (*_SCAN_ATTRIBUTES, *_MARKS)))
    if codes is None:
        return [headers]
    return [part for group in stack.groups(codes) for part in split_by_phase(group)]


def _labels(stack: Stack, attributes: Sequence[Attribute]) -> Iterator[Codes]:
    """The parts by the value of each attribute that has several values."""
    for attribute in attributes:
        codes = np.unique([attribute(header) for header in stack.headers], return_inverse=True)[1]
        if codes.max():
            yield codes


def _apart(stack: Stack) -> Codes | None:
    """The best division in which no place is taken twice; else the attribute that leaves fewest so, if any does."""
    told = [_Told(stack, codes) for codes in _labels(stack, (*_PHASE_ATTRIBUTES, *_MARKS))]
    told += [_Told(stack, codes, better) for codes, better in passes(stack)]
    told += [_Told(stack, codes) for codes in _labels(stack, _TIMES)]
    if whole := [one for one in told if one.holds]:
        return min(whole, key=lambda one: one.doubt).codes  # the first of equals
    fewest, best = stack.doubles(), None
    for codes in _labels(stack, (*_PHASE_ATTRIBUTES, *_TIMES)):
        left = stack.doubles(codes)
        if left < fewest and _is_plausible(stack, codes):
            fewest, best = left, codes
    return off_grid(stack) if best is None else best


class _Told:
    """A division of a stack whose places are taken twice, and what speaks against it.

    One by the order of acquisition has `better` orders, which must not contradict it.
    """

    def __init__(self, stack: Stack, codes: Codes, better: Sequence[Values] | None = None) -> None:
        self.codes = joined_stations(stack, codes)
        self.holds = not stack.doubles(self.codes) and _is_plausible(stack, self.codes)
        if not self.holds:
            return
        skipped = max(0.0, stack.skipped_places(self.codes) - _MOST_SKIPPED * len(codes))
        swept = max(0.0, stack.largest_sweeps(self.codes, stack.informative_orders[:1]) - _MOST_SWEEPS)
        self.doubt = round(skipped + swept, 3)
        if better is not None:
            self.holds = not skipped and stack.largest_sweeps(self.codes, better) <= _MOST_SWEEPS


def _is_plausible(stack: Stack, codes: Codes) -> bool:
    """Few parts for the images at each place, or long ones: values that run through a scan make many short parts."""
    parts = stack.parts(codes)
    is_shared = stack.images_at_each_place > 1
    alone = sum(not is_shared[stack.places[part]].any() for part in parts)
    sizes = np.array([len(part) for part in parts])
    if alone > _MOST_ALONE or (stack.places.max() and (sizes == 1).sum() > stack.most_at_a_place):
        return False
    return len(parts) <= _MOST_PARTS_A_PLACE * stack.most_at_a_place or float(np.median(sizes)) >= _LONG_PART


def _shifted(stack: Stack) -> Codes | None:
    """Scans whose slices lie among each other's, at places of their own; None where all may be one scan.

    A place that is taken twice within a scan counts once: what nothing tells apart there is not the other scan's fault.

    One scan passes once, whatever its acquisition numbers say; the best clock tells. Numbers may have been given by
    position, and tell it only of even slices. What doesn't pass once may still be one scan whose even slices were
    acquired before its odd ones; its slices are no thicker than their distance then.
    """
    by_position = np.argsort(stack.positions_mm, kind="stable")
    steps_mm = stack.steps_mm(by_position)
    is_even = whole_steps(steps_mm) is not None
    orders = (order for order in stack.informative_orders if is_even or order is not stack.instances)
    if 0 < next(filter(None, (sweeps(order[by_position]) for order in orders)), 0.0) <= _ONE_SWEEP:
        return None
    thickness_mm = stack.headers[0].acquisition.slice_thickness_mm or 0.0
    if is_even and thickness_mm <= _OVERLAP * float(np.median(steps_mm)):
        return None
    candidates = (*_labels(stack, _SCAN_ATTRIBUTES), *(codes for codes, _ in passes(stack)))
    for codes in (*candidates, *([] if is_even else two_grids(stack))):
        parts = stack.parts(codes)
        at_once = _most_at_once(stack, parts)
        is_few = at_once >= 2 and len(parts) <= _MOST_PARTS_A_PLACE * at_once
        if is_few and _all_even(stack, parts) and not fill_holes(stack, parts):
            return codes
    return None if is_even else off_grid(stack)


def _most_at_once(stack: Stack, parts: Sequence[Codes]) -> int:
    """How many parts there are at most whose range one slice lies in."""
    lows, highs = (np.sort([stack.positions_mm[part[end]] for part in parts]) for end in (0, -1))
    started = np.searchsorted(lows, stack.positions_mm, "right")
    return int((started - np.searchsorted(highs, stack.positions_mm, "left")).max())


def _all_even(stack: Stack, parts: Sequence[Codes]) -> bool:
    steps_mm = [stack.steps_mm(part) for part in parts]
    return max(map(len, steps_mm)) > 1 and all(len(each) < 2 or whole_steps(each) is not None for each in steps_mm)

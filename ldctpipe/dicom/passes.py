"""Scans told apart by the order in which images were acquired: one pass along the table after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.stacking import Codes, Stack, Values

_CLEAR_PAUSE = 4.0  # times as long as any within a scan
_LONGER = 1.5
_SAME_PAUSE = 1.2
_LEAST_AT_BORDER = 2  # passes that end before it or begin at it, beside the one that goes on
_LEAST_PAUSES = 4  # within scans, to compare with


def passes(stack: Stack) -> Iterator[tuple[Codes, tuple[Values, ...]]]:
    """Yield what may be the scans of `stack` by their order, and the orders that know better and must not contradict.

    A new scan begins where positions jump back or stand still, or after a pause that is longer than all within scans.
    AcquisitionTime knows best, then ContentTime, which out-of-order reconstruction garbles, then numbers.
    """
    counts = _numbers([header.acquisition_number for header in stack.headers])
    times = (stack.acquired_s, stack.content_s)
    for order, better in ((counts, times), (times[0], ()), (times[1], times[:1]), (stack.instances, times)):
        if order is not counts and not any(order is known for known in stack.informative_orders):
            continue
        if np.isnan(order).any() or order.min() == order.max():
            continue
        moments, blocks = np.unique(order, return_inverse=True)
        if stack.doubles(blocks) or (order is stack.instances and _follows_positions(stack, blocks)):
            continue
        if any(order is time for time in times):
            yield from ((codes, better) for codes in _divided_by_pauses(stack, order))
        rhythm = None if order is counts else np.zeros(len(moments)) if order is stack.instances else moments
        yield from ((codes, better) for codes in _one_way(stack, blocks, rhythm))
        yield from ((codes, better) for codes in _to_and_fro(stack, blocks, moments))


def _follows_positions(stack: Stack, blocks: Codes) -> bool:
    """Tell whether numbers go one way along the table, standing where places are taken twice.

    Somebody may have given them by position; which of the images at a place came first is chance then.
    """
    if stack.places.max() == 0:
        return False  # each image is a scan of its own
    steps = np.diff(stack.places[np.argsort(blocks, kind="stable")])
    return bool((steps >= 0).all() or (steps <= 0).all())


def _numbers(texts: list[str]) -> Values:
    try:
        return np.array([float(int(text)) for text in texts])
    except (ValueError, OverflowError):
        return np.full(len(texts), np.nan)


def _one_way(stack: Stack, blocks: Codes, moments: Values | None) -> Iterator[Codes]:
    """All scans along the table in one direction: that which makes fewer of them, if it is clear which."""
    up, down = (_chained(stack, blocks, direction) for direction in (1.0, -1.0))
    if up.sum() == down.sum():
        return
    is_cut, direction = (up, 1.0) if up.sum() < down.sum() else (down, -1.0)
    if moments is not None:
        if not _tells_repeats(stack, blocks, moments, direction):
            return
        is_cut = _with_pauses(is_cut, np.round(np.diff(moments), 3))
    yield _apart_at_stations(stack, _cut(is_cut, blocks))


def _chained(stack: Stack, blocks: Codes, direction: float) -> npt.NDArray[np.bool_]:
    """Which block, in their order, doesn't go on with the pass of the one before, because it doesn't lie beyond it."""
    near, far = _ends(stack.positions_mm * direction, blocks)
    return np.asarray(near[1:] <= far[:-1] + stack.tolerance_mm / 2)


def _with_pauses(is_cut: npt.NDArray[np.bool_], pauses: Values) -> npt.NDArray[np.bool_]:
    """Cut also where the pause is like one between scans: another station, not more of the same scan."""
    if not is_cut.any() or is_cut.all():
        return is_cut
    between, within = float(pauses[is_cut].min()), float(np.median(pauses[~is_cut]))
    return (
        is_cut
        | (pauses > _SAME_PAUSE * between)
        | ((pauses * _SAME_PAUSE > between) & (pauses > _CLEAR_PAUSE * within))
    )


def _apart_at_stations(stack: Stack, codes: Codes) -> Codes:
    """Cut the one pass that goes on from a table position to the next, where all others end or begin.

    It is the last time point of one and the first of the other.
    """
    ends = [(int(stack.places[part[0]]), int(stack.places[part[-1]])) for part in stack.parts(codes)]
    starting, ending = Counter(start for start, _ in ends), Counter(end for _, end in ends)
    borders = [
        place
        for place in sorted(starting)
        if starting[place]
        and ending[place - 1]
        and starting[place] + ending[place - 1] >= _LEAST_AT_BORDER
        and sum(start < place <= end for start, end in ends) == 1
    ]
    if not borders:
        return codes
    return np.unique(codes * (len(borders) + 1) + np.searchsorted(borders, stack.places, "right"), return_inverse=True)[
        1
    ]


def _tells_repeats(stack: Stack, blocks: Codes, moments: Values, direction: float) -> bool:
    """Tell whether a pause shows which scan each image is from where a place is taken twice and the table moves on.

    Numbers that somebody gave by position look the same there, with either image first.
    """
    near, far = _ends(stack.positions_mm * direction, blocks)
    stays = np.abs(near[1:] - far[:-1]) <= stack.tolerance_mm / 2
    moves_on = near[1:] > far[:-1] + stack.tolerance_mm / 2
    pauses = np.diff(moments)
    before = np.concatenate([[False], stays[1:] & moves_on[:-1] & (pauses[1:] <= _LONGER * pauses[:-1])])
    after = np.concatenate([stays[:-1] & moves_on[1:] & (pauses[:-1] <= _LONGER * pauses[1:]), [False]])
    return not (before | after).any()


def _to_and_fro(stack: Stack, blocks: Codes, moments: Values) -> Iterator[Codes]:
    """Scans in either direction: a new one begins where a place is taken twice running, or the direction changes.

    The turning point belongs to the scan that it is nearer to in time, if that is clear.
    """
    lowest, highest = _ends(stack.positions_mm, blocks)
    codes, direction = np.zeros(len(lowest), dtype=np.int_), 0
    for index in range(1, len(lowest)):
        step = 1 if lowest[index] > highest[index - 1] + stack.tolerance_mm / 2 else 0
        step = step or (-1 if highest[index] < lowest[index - 1] - stack.tolerance_mm / 2 else 0)
        codes[index] = codes[index - 1]
        if step == 0:
            codes[index] += 1
            direction = 0
        elif direction and step != direction:
            before, after = np.round(np.diff(moments[index - 2 : index + 1]), 3)
            if before == after or codes[index - 1] != codes[index - 2]:
                return
            codes[index] += 1
            codes[index - 1] += before > after
            direction = step if before > after else 0
        else:
            direction = step
    yield _apart_at_stations(stack, codes[blocks])


def _ends(positions_mm: Values, blocks: Codes) -> tuple[Values, Values]:
    """Lowest and highest position of each block."""
    lowest, highest = np.full(blocks.max() + 1, np.inf), np.full(blocks.max() + 1, -np.inf)
    np.minimum.at(lowest, blocks, positions_mm)
    np.maximum.at(highest, blocks, positions_mm)
    return lowest, highest


def _divided_by_pauses(stack: Stack, seconds: Values) -> Iterator[Codes]:
    """The fewest scans that leave no place taken twice, if the pauses between them are much longer than all others."""
    moments, blocks = np.unique(seconds, return_inverse=True)
    pauses = np.round(np.diff(moments), 3)
    lengths = np.unique(pauses)[::-1]
    first, last = 0, len(lengths) - 1
    while first < last:
        middle = (first + last) // 2
        codes = _cut(pauses >= lengths[middle], blocks)
        first, last = (middle + 1, last) if stack.doubles(codes) else (first, middle)
    is_cut = pauses >= lengths[first]
    if (~is_cut).sum() >= _LEAST_PAUSES and lengths[first] >= _CLEAR_PAUSE * lengths[first + 1]:
        yield _cut(is_cut, blocks)


def _cut(is_cut: npt.NDArray[np.bool_], blocks: Codes) -> Codes:
    return np.concatenate([[0], np.cumsum(is_cut)])[blocks]


def joined_stations(stack: Stack, codes: Codes) -> Codes:
    """Join the n-th pass at each table position to one scan, where a cine or perfusion stepped the table.

    That holds where all places have equally many images, each position of the table covers at least two places of its
    own, side by side, and all passes at a position are of one acquisition. Else `codes` come back as they are.
    """
    counts = stack.images_at_each_place
    parts = stack.parts(codes)
    if counts.min() != counts.max() or counts[0] < 2 or len(parts) <= counts[0]:
        return codes
    stations: dict[tuple[int, ...], list[Codes]] = {}
    for part in parts:
        stations.setdefault(tuple(stack.places[part]), []).append(part)
    if sum(map(len, stations)) != len(counts) or min(map(len, stations)) < 2:
        return codes
    for places, at_station in stations.items():
        acquisitions = {stack.headers[index].acquisition_number for part in at_station for index in part}
        if places[-1] - places[0] + 1 != len(places) or len(acquisitions) > 1:
            return codes
    joined = np.empty_like(codes)
    for at_station in stations.values():
        for number, part in enumerate(at_station):
            joined[part] = number
    return joined

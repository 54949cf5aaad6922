"""Scans told apart by the order in which images were acquired: one pass along the table after another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ldctpipe.dicom.stacking import Codes, Stack, Values

_CLEAR_PAUSE = 2.0  # times as long as any within a scan


def passes(stack: Stack) -> Iterator[Codes]:
    """Yield what may be the scans of `stack`, by what their order is told from: times, then InstanceNumber.

    A new scan begins where positions jump back or stand still, or after a pause that is longer than all within scans.
    """
    counts = _numbers([header.acquisition_number for header in stack.headers])
    for order in (counts, *stack.orders):
        if np.isnan(order).any() or order.min() == order.max():
            continue
        blocks = np.unique(order, return_inverse=True)[1]
        if stack.doubles(blocks) or (order is stack.instances and blocks.max() + 1 < len(blocks)):
            continue  # a number given twice started anew somewhere, and doesn't say where
        if order is not counts and order is not stack.instances:
            yield from _divided_by_pauses(stack, order)
        yield from _one_way(stack, blocks)
        yield from _to_and_fro(stack, blocks)


def _numbers(texts: list[str]) -> Values:
    try:
        return np.array([float(int(text)) for text in texts])
    except (ValueError, OverflowError):
        return np.full(len(texts), np.nan)


def _one_way(stack: Stack, blocks: Codes) -> Iterator[Codes]:
    """All scans along the table in one direction: that which makes fewer of them, if it is clear which."""
    up, down = (_chained(stack, blocks, direction) for direction in (1.0, -1.0))
    if up.max() != down.max():
        yield min(up, down, key=lambda codes: int(codes.max()))


def _chained(stack: Stack, blocks: Codes, direction: float) -> Codes:
    """Blocks of images, in their order, as passes: a block that lies beyond the one before goes on with its pass."""
    near, far = _ends(stack.positions_mm * direction, blocks)
    starts = near[1:] <= far[:-1] + stack.tolerance_mm / 2
    return np.concatenate([[0], np.cumsum(starts)])[blocks]


def _to_and_fro(stack: Stack, blocks: Codes) -> Iterator[Codes]:
    """The table turns where a place is taken twice running; a turn elsewhere could belong to either scan."""
    lowest, highest = _ends(stack.positions_mm, blocks)
    codes, current, direction = np.zeros(len(lowest), dtype=np.int_), 0, 0
    for index in range(1, len(lowest)):
        step = 1 if lowest[index] > highest[index - 1] + stack.tolerance_mm / 2 else 0
        step = step or (-1 if highest[index] < lowest[index - 1] - stack.tolerance_mm / 2 else 0)
        if step and direction and step != direction:
            return
        direction = step and (direction or step)
        current += step == 0
        codes[index] = current
    yield codes[blocks]


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
    if first + 1 == len(lengths) or lengths[first] >= _CLEAR_PAUSE * lengths[first + 1]:
        yield _cut(pauses >= lengths[first], blocks)


def _cut(is_cut: np.ndarray, blocks: Codes) -> Codes:
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

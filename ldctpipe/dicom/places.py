"""Scans told apart by where their images lie: gaps, grids that don't fit each other, images off the grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.stacking import Codes, Stack, Values

Mask = npt.NDArray[np.bool_]

_LEAST_GAP = 1.9  # slice distances
_CLEAR_PAUSE, _LONGEST_HOLD_S = 4.0, 2.0
_LEAST_EVEN = 6  # slices that show a step
_MOST_OFF = 0.2  # of the places


def beyond_gap(stack: Stack, labels: Iterable[Codes]) -> Codes | None:
    """Return scans with a gap between them, at which alone one of `labels` changes or a pause lies; None for one scan.

    A scan of which slices are missing goes on behind the hole as before it. One image cannot show its step; its
    thickness stands for that.
    """
    by_position = np.argsort(stack.places, kind="stable")
    steps_mm = np.diff(stack.positions_mm[by_position])
    is_step = np.diff(stack.places[by_position]) > 0
    if not is_step.any():
        return None
    usual_mm = float(np.median(steps_mm[is_step]))
    if is_step.sum() < 2:
        usual_mm = _LEAST_GAP * (stack.headers[0].acquisition.slice_thickness_mm or usual_mm)
    is_gap = is_step & (steps_mm > _LEAST_GAP * usual_mm)
    borders = _changes_at_gaps(labels, by_position, is_gap) | _pauses_at_gaps(stack, by_position, is_gap, steps_mm)
    if not borders.any():
        return None
    codes = np.zeros_like(stack.places)
    codes[by_position] = np.concatenate([[0], np.cumsum(borders)])
    return codes


def _changes_at_gaps(labels: Iterable[Codes], by_position: Codes, is_gap: Mask) -> Mask:
    """At which gaps an attribute changes that changes nowhere else."""
    borders = np.zeros_like(is_gap)
    for codes in labels if is_gap.any() else ():
        changes = np.diff(codes[by_position]) != 0
        if not (changes & ~is_gap).any():
            borders |= changes
    return borders


def _pauses_at_gaps(stack: Stack, by_position: Codes, is_gap: Mask, steps_mm: Values) -> Mask:
    """At which gaps more time passed than the scan takes for so long a way, however it paused elsewhere."""
    pauses_s = np.abs(np.diff(stack.acquired_s[by_position]))
    if not is_gap.any() or np.isnan(pauses_s).any():
        return np.zeros_like(is_gap)
    within = ~is_gap & (steps_mm > 0)
    longest_s = float(pauses_s[within].max()) if within.any() else 0.0
    slowest_s_per_mm = float((pauses_s[within] / steps_mm[within]).max()) if within.any() else 0.0
    most_s = np.maximum(_LONGEST_HOLD_S, _CLEAR_PAUSE * np.maximum(longest_s, slowest_s_per_mm * steps_mm))
    return np.asarray(is_gap & (pauses_s > most_s))


def fill_holes(stack: Stack, parts: Sequence[Codes]) -> bool:
    """Tell whether images of one of `parts` lie where another one lacks a slice: then they are slices of one scan."""
    for part in parts:
        own_mm = stack.positions_mm[part]
        if len(part) < 2:
            continue
        usual_mm = float(np.median(stack.steps_mm(part)))
        others_mm = stack.positions_mm[(stack.positions_mm > own_mm[0]) & (stack.positions_mm < own_mm[-1])]
        others_mm = np.setdiff1d(others_mm, own_mm)
        below_mm = others_mm - own_mm[np.searchsorted(own_mm, others_mm) - 1]
        if (np.abs(below_mm - usual_mm * np.rint(below_mm / usual_mm)) < stack.tolerance_mm).any():
            return True
    return False


def two_grids(stack: Stack) -> Iterator[Codes]:
    """Yield two even stations whose slices lie between each other's; each reaches beyond the other."""
    ordered_mm = np.sort(stack.positions_mm)
    over_two_mm = float(np.median(ordered_mm[2:] - ordered_mm[:-2])) if len(ordered_mm) > 2 else 0.0
    for usual_mm in {float(np.diff(ordered_mm).max()), over_two_mm} - {0.0}:
        yield from _on_two_grids(stack, usual_mm)


def _on_two_grids(stack: Stack, usual_mm: float) -> Iterator[Codes]:
    phase_mm = np.mod(stack.positions_mm - stack.positions_mm.min() + stack.tolerance_mm, usual_mm)
    codes = (phase_mm > 2 * stack.tolerance_mm).astype(np.int_)
    if codes.min() == codes.max() or np.ptp(phase_mm[codes == 1]) > stack.tolerance_mm:
        return
    first, second = (np.sort(stack.positions_mm[codes == part]) for part in (0, 1))
    if first[-1] < second[-1] and all(
        np.ptp(np.diff(each)) <= stack.tolerance_mm for each in (first, second) if len(each) > 1
    ):
        yield codes


def off_grid(stack: Stack) -> Codes | None:
    """Return what lies between two neighboring slices of an even scan as another one; None where there is nothing so.

    Images of bolus tracking lie where the operator put them.
    """
    places_mm = np.full(stack.places.max() + 1, np.inf)
    np.minimum.at(places_mm, stack.places, stack.positions_mm)
    if len(places_mm) < _LEAST_EVEN:
        return None
    usual_mm = float(np.median(np.diff(places_mm)))
    for first in range(_LEAST_EVEN):
        steps = (places_mm - places_mm[first]) / usual_mm
        is_off = np.abs(steps - np.rint(steps)) * usual_mm > stack.tolerance_mm
        even_mm = places_mm[~is_off]
        is_even = len(even_mm) >= _LEAST_EVEN and np.abs(np.diff(even_mm) - usual_mm).max() <= stack.tolerance_mm
        is_between = (places_mm[is_off] > even_mm[0]) & (places_mm[is_off] < even_mm[-1])
        if is_even and 0 < is_off.sum() <= _MOST_OFF * len(places_mm) and is_between.all():
            return is_off[stack.places].astype(np.int_)
    return None

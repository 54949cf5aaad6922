"""Which slices are neighbors: the one rule for training, validation and inference of networks that see several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Times the usual distance. Missing slices leave a larger one; a slice that occurs twice, or one between two others, a
# smaller one.
_NEIGHBORING = (0.5, 1.5)


def usual_step_mm(positions_mm: npt.ArrayLike) -> float:
    """Return the usual distance of consecutive slices in mm, negative where positions descend; NaN for one slice.

    That is the median, the lower one of an even number of distances: a single missing slice does not raise it.
    """
    steps_mm = np.diff(np.asarray(positions_mm, dtype=np.float64))
    steps_mm = steps_mm[np.isfinite(steps_mm) & (steps_mm != 0)]
    if not len(steps_mm):
        return np.nan
    size_mm = np.sort(np.abs(steps_mm))[(len(steps_mm) - 1) // 2]
    return float(np.copysign(size_mm, np.median(steps_mm)))


def unbroken_stacks(positions_mm: npt.ArrayLike) -> list[range]:
    """Return the runs of slices that are neighbors of each other, in order and without a break between two.

    `positions_mm` has one value per slice of a series, in stored order, ascending or descending. Two slices are
    neighbors if their distance is 0.5 to 1.5 times the usual one, in the usual direction. So a stack ends where slices
    are missing, where positions jump back, at duplicates, and where distances are uneven by more than that.
    """
    positions_mm = np.asarray(positions_mm, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        share = np.diff(positions_mm) / usual_step_mm(positions_mm)
    is_neighbor = (share >= _NEIGHBORING[0]) & (share <= _NEIGHBORING[1])
    ends = [*(np.flatnonzero(~is_neighbor) + 1).tolist(), len(positions_mm)]
    return [range(first, end) for first, end in zip([0, *ends[:-1]], ends, strict=True)] if len(positions_mm) else []


def neighbors(stacks: Sequence[range], context: int) -> npt.NDArray[np.int64]:
    """Return (slices, 2 · context + 1) numbers: each slice of the stacks in the middle of those around it.

    Together the stacks hold every slice once, in order. Where a stack ends, its last slice repeats.
    """
    each = [around(stack, stack, context) for stack in stacks]
    windows = [np.lib.stride_tricks.sliding_window_view(numbers, 2 * context + 1) for numbers in each]
    return np.concatenate(windows) if windows else np.empty((0, 2 * context + 1), dtype=np.int64)


def around(slices: range, stack: range, context: int) -> npt.NDArray[np.int64]:
    """Return the numbers of consecutive slices of a stack with `context` more on either side, its ends repeated."""
    numbers = np.arange(slices.start - context, slices.stop + context, dtype=np.int64)
    return numbers.clip(stack.start, stack.stop - 1)

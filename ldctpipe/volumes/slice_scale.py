"""Whether one slice lies on another scale of HU than the slice before it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ldctpipe.volumes.levels import BlockMeans

Values = npt.NDArray[np.float64]

_FEWEST_BLOCKS = 16
_LEAST_SPREAD_HU, _LEAST_DEVIATION_HU = 200.0, 1.0
_LEAST_CORRELATION, _LEAST_LIKENESS = 0.95, 0.7
_CLEARLY_OTHER_SLOPE = 1.4
_LEAST_RATIO, _NEAR_RATIO = 1.25, 0.4
_AIR_HU, _MOST_SHIFT_HU = -1000.0, 150.0
_MOST_MOVED = 0.25
_FURTHEST_HU, _MOST_FAR = (-1200.0, 4000.0), 0.25


def far_fault(means: BlockMeans, number: int) -> str | None:
    """Return why the block means of slice `number` can't be HU, as a clause, or None: much of it lies far away."""
    measured = means[~np.isnan(means)]
    if measured.size < _FEWEST_BLOCKS:
        return None
    far = (measured < _FURTHEST_HU[0]) | (measured > _FURTHEST_HU[1])
    if np.mean(far) > _MOST_FAR:
        return f"holds values near {float(np.median(measured[far])):.0f} HU in much of slice {number}"
    return None


def neighbor_fault(means: BlockMeans, before: BlockMeans | None) -> str | None:
    """Return why the block means of a slice can't be HU beside those of the one before, as a clause, or None.

    Neighbors show nearly the same anatomy. If one is a linear function of the other that shifts air and much of the
    rest by more than 150 HU, their scales differ: a sign, a slope or an intercept. A slice in which the body begins or
    ends is no such function, and in one of another material air stays the same. Where a hole or an insert ends within
    a thick slice, its blocks move and the material around it stays: a slope near 1 that leaves some of the values in
    place is no fault, as another RescaleSlope leaves air in place and another RescaleIntercept nothing.
    """
    if before is None or before.shape != means.shape:
        return None
    both = ~(np.isnan(means) | np.isnan(before))
    now, then = means[both].astype(np.float64), before[both].astype(np.float64)
    if now.size < _FEWEST_BLOCKS or max(np.ptp(now), np.ptp(then)) < _LEAST_SPREAD_HU:
        return None
    if min(now.std(), then.std()) < _LEAST_DEVIATION_HU:
        return None
    correlation = float(np.corrcoef(now, then)[0, 1])
    if abs(correlation) < _LEAST_CORRELATION:
        return None
    slope = correlation * float(now.std() / then.std())
    if _some_stay(now, then, slope):
        return None
    air_hu = float(now.mean()) + slope * (_AIR_HU - float(then.mean()))
    moved = np.abs(now - then) > _MOST_SHIFT_HU
    if abs(air_hu - _AIR_HU) <= _MOST_SHIFT_HU or np.mean(moved) <= _MOST_MOVED:
        return None
    return f"shows the anatomy of the slice before, but {float(np.median((now - then)[moved])):+.0f} HU apart"


def _some_stay(now: Values, then: Values, slope: float) -> bool:
    """Tell whether a slope that is not far from 1 leaves some of the values where they were."""
    if slope <= 0 or not 1 / _CLEARLY_OTHER_SLOPE < slope < _CLEARLY_OTHER_SLOPE:
        return False
    ends = np.percentile(then, [5, 95])
    shifts = now.mean() + slope * (ends - then.mean()) - ends
    return bool(shifts.prod() <= 0 or np.abs(shifts).min() <= _MOST_SHIFT_HU)


def rescaling_fault(means: BlockMeans, before: BlockMeans, ratio: float) -> bool:
    """Tell whether two neighboring slices, whose headers have slopes of this `ratio`, would agree with one slope.

    Slices of one scan may be stored with slopes of their own; then they show the same anatomy at the same HU.
    """
    both = ~(np.isnan(means) | np.isnan(before))
    now, then = means[both].astype(np.float64), before[both].astype(np.float64)
    if now.size < _FEWEST_BLOCKS or min(np.ptp(now), np.ptp(then)) < _LEAST_SPREAD_HU:
        return False
    if abs(np.log(ratio)) < np.log(_LEAST_RATIO):  # neighbors differ as much by their anatomy
        return False
    if float(np.corrcoef(now, then)[0, 1]) < _LEAST_LIKENESS:
        return False
    return bool(abs(np.log(now.std() / then.std() / ratio)) < _NEAR_RATIO * abs(np.log(ratio)))

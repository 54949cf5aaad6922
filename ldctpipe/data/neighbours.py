"""Which slices lie next to a slice, for networks that see several."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

_GAP = 1.5  # times the usual spacing: from there on slices are missing between two


def neighbours(slices: pd.DataFrame, context: int) -> npt.NDArray[np.int64]:
    """Return (slices, 2 · context + 1) row numbers: each slice in the middle of those around it, in stored order.

    `slices` has the columns series and position_mm, each series' rows together and in order. At the ends of a series,
    and where slices are missing in it, the last slice before the end repeats.
    """
    rows = np.arange(len(slices))
    first, last = _ends(slices)
    steps = np.arange(-context, context + 1)
    return np.asarray(np.clip(rows[:, None] + steps, first[:, None], last[:, None]), dtype=np.int64)


def _ends(slices: pd.DataFrame) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first and the last row of the unbroken stack that each slice lies in."""
    series = slices.groupby(["patient", "series"], sort=False).ngroup()
    spacing = slices["position_mm"].astype(float).diff().abs().where(series == series.shift())
    usual = spacing.groupby(series).transform("median")
    begins = np.flatnonzero((spacing.isna() | (spacing > _GAP * usual)).to_numpy())
    ends = np.append(begins[1:], len(slices)) - 1
    stack = np.searchsorted(begins, np.arange(len(slices)), side="right") - 1
    return begins[stack], ends[stack]

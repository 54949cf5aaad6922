"""Stored values to HU: value × RescaleSlope + RescaleIntercept (PS3.3 §C.11.1), in as many bits as it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ldctpipe.volumes.volume import HuArray

_INT16_LOWEST, _INT16_HIGHEST = -32768, 32767
_WORD = 0xFFFF


def rescaled(values: npt.NDArray[Any], slope: float, intercept: float) -> HuArray:
    """Return values × slope + intercept as int16 where every result is a whole number that fits, else as float32."""
    exact = values * np.float64(slope) + intercept
    is_whole = _fits(values, slope, intercept) and bool((exact == np.rint(exact)).all())
    with np.errstate(over="ignore"):  # infinite HU of a wild slope; whoever reads a series refuses it
        return exact.astype(np.int16) if is_whole else exact.astype(np.float32)


def become_whole_hu(values: npt.NDArray[np.int16] | npt.NDArray[np.uint16], slope: float, intercept: float) -> bool:
    """Turn `values` into int16 HU, in place whatever their sign was, or return False where not all HU are such numbers.

    Their memory holds the HU then, to be seen as int16; where False is returned it holds the values still. The sums
    are exact: they are taken modulo 2¹⁶, and only where the extremes show that every result is within 16 bits.
    """
    if not _fits(values, slope, intercept):
        return False
    words = values.view(np.uint16)
    if not (slope.is_integer() and intercept.is_integer()):
        hu = rescaled(values, slope, intercept)
        if hu.dtype != np.int16:
            return False
        words[...] = hu.view(np.uint16)
        return True
    if slope != 1:
        np.multiply(words, np.uint16(int(slope) & _WORD), out=words)
    if intercept != 0:
        np.add(words, np.uint16(int(intercept) & _WORD), out=words)
    return True


def _fits(values: npt.NDArray[Any], slope: float, intercept: float) -> bool:
    ends = (float(values.min()) * slope + intercept, float(values.max()) * slope + intercept)
    return min(ends) >= _INT16_LOWEST and max(ends) <= _INT16_HIGHEST

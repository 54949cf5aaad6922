"""The random numbers of a simulated scan: seeded per place in the patient, correlated along z as slices overlap.

Numbers belong to thin planes along z. A slice averages the planes that it covers, so neighbours that overlap share
planes, as they share detector rows on a scanner: with slice thickness T and increment D < T their noise correlates by
1 − D/T. Seeds come from SHA-256 of what the numbers are for, so that no result depends on the order or the size of
batches.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_THINNEST_PLANE_MM = 0.5
_PLANE_WHERE_NOTHING_DIVIDES_MM = 0.3
_PLANES_KEPT = 24


def generator(*purpose: object) -> np.random.Generator:
    """Return a generator of its own for `purpose`: equal words and numbers give an equal stream on every machine."""
    return stream(int.from_bytes(_digest(*purpose), "big"))


def slice_seed(seed: int, key: str, index: int, realisation: int = 0) -> int:
    """Return the 48-bit seed of what is drawn for one slice of a series; −1 stands for the series as a whole."""
    return int.from_bytes(_digest(seed, key, "slice", index, realisation)[:6], "big")


def stream(seed: int) -> np.random.Generator:
    """Return the generator that `seed` starts."""
    return np.random.Generator(np.random.SFC64(seed))


def _digest(*purpose: object) -> bytes:
    return hashlib.sha256("\x1f".join(map(str, purpose)).encode()).digest()


@dataclass(frozen=True)
class SliceDeviates:
    """Standard normal deviates for every ray of every slice of one series.

    `shares` has, for each slice, the planes that it covers with their weights (squares sum to 1).
    """

    seed: int
    key: str
    shares: tuple[tuple[tuple[int, float], ...], ...]

    def of_slice(self, index: int, shape: tuple[int, int], purpose: str) -> npt.NDArray[np.float32]:
        """Return the deviates of slice `index`, shape (views, channels); `purpose` tells independent fields apart."""
        total = np.zeros(shape, dtype=np.float32)
        for plane, weight in self.shares[index]:
            total += np.float32(weight) * _plane(self.seed, self.key, purpose, plane, shape)
        return total


@lru_cache(maxsize=_PLANES_KEPT)
def _plane(seed: int, key: str, purpose: str, index: int, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    return generator(seed, key, purpose, index).standard_normal(shape, dtype=np.float32)


def slice_deviates(seed: int, key: str, positions_mm: Sequence[float], thickness_mm: float | None) -> SliceDeviates:
    """Return the deviates of a series with slices of `thickness_mm` at `positions_mm` (ascending).

    Where slices do not overlap, or their thickness is not known, each slice has numbers of its own.
    """
    positions = np.asarray(positions_mm, dtype=np.float64)
    increment_mm = float(np.median(np.diff(positions))) if len(positions) > 1 else math.inf
    if thickness_mm is None or increment_mm <= 0 or thickness_mm <= increment_mm * 1.001:
        return SliceDeviates(seed, key, tuple(((index, 1.0),) for index in range(len(positions))))
    plane_mm = _plane_thickness_mm(thickness_mm, increment_mm)
    lower_edges = (positions - positions[0]) / plane_mm
    shares = tuple(_shares(float(edge), thickness_mm / plane_mm) for edge in lower_edges)
    return SliceDeviates(seed, key, shares)


def _plane_thickness_mm(thickness_mm: float, increment_mm: float) -> float:
    common_mm = math.gcd(round(thickness_mm * 100), round(increment_mm * 100)) / 100
    if common_mm >= _THINNEST_PLANE_MM:
        return common_mm
    return increment_mm / math.ceil(increment_mm / _PLANE_WHERE_NOTHING_DIVIDES_MM)


def _shares(lower: float, extent: float) -> tuple[tuple[int, float], ...]:
    """Return planes and weights of a slice from `lower` to `lower` + `extent`, in units of planes."""
    lower, upper = round(lower, 3), round(lower + extent, 3)
    planes = range(math.floor(lower), math.ceil(upper))
    overlaps = [min(upper, plane + 1) - max(lower, plane) for plane in planes]
    norm = math.sqrt(sum(overlap**2 for overlap in overlaps))
    return tuple((plane, overlap / norm) for plane, overlap in zip(planes, overlaps, strict=True))

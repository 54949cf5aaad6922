"""The one place where HU become network values and network values become HU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

AIR_HU = -1000  # by the definition of HU; also what networks see where a scanner padded


@dataclass(frozen=True)
class HuNormalization:
    """Maps [lower_hu, upper_hu] to [0, 1] and back (flagship paper, "Preprocessing").

    Works on anything with arithmetic and `.clip(low, high)`: numpy arrays and torch tensors on any device. Arrays
    must be of a floating type wide enough for the result; `normalize` is the exact inverse of `denormalize` up to
    rounding for values inside the range, and clips what lies outside.
    """

    lower_hu: float = -1000.0
    upper_hu: float = 2000.0

    def __post_init__(self) -> None:
        if not self.lower_hu < self.upper_hu:
            raise ValueError(f"an HU range from {self.lower_hu} to {self.upper_hu} is empty")

    @property
    def range_hu(self) -> float:
        """Width of the range in HU: one network unit."""
        return self.upper_hu - self.lower_hu

    def normalize(self, hu: Any) -> Any:
        """Return network values in [0, 1] for HU, clipped to the range."""
        return (hu.clip(self.lower_hu, self.upper_hu) - self.lower_hu) / self.range_hu

    def denormalize(self, values: Any) -> Any:
        """Return HU for network values, not clipped."""
        return values * self.range_hu + self.lower_hu

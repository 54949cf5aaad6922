"""Whether pixels and slices are as large as those of a CT can be."""

from __future__ import annotations

from collections.abc import Sequence

# From specimens under a micro-CT to a scout of the whole body; clinical pixels are 0.1 to 2 mm.
_SMALLEST_MM, _LARGEST_MM = 0.005, 10.0
_LONGEST_TO_SHORTEST = 4.0
_SMALLEST_FIELD_MM, _LARGEST_FIELD_MM = 0.5, 3000.0
_LARGEST_STEP_MM = 500.0


def pixel_size_fault(spacing_mm: Sequence[float], shape: Sequence[int]) -> str | None:
    """Return why pixels (distance of rows, of columns in mm) of an image (rows, columns) can't be a CT's, or None."""
    size = " x ".join(f"{one:.3g}" for one in spacing_mm)
    if not all(_SMALLEST_MM <= one <= _LARGEST_MM for one in spacing_mm):
        return f"pixels of {size} mm, a pixel spacing that no CT has"
    if max(spacing_mm) > _LONGEST_TO_SHORTEST * min(spacing_mm):
        return f"pixels of {size} mm, a pixel spacing that no CT has"
    sides_mm = [one * count for one, count in zip(spacing_mm, shape, strict=True)]
    if not (min(sides_mm) >= _SMALLEST_FIELD_MM and max(sides_mm) <= _LARGEST_FIELD_MM):
        return f"a field of view of {sides_mm[0]:.3g} x {sides_mm[1]:.3g} mm, which no CT has"
    return None


def step_fault(step_mm: float) -> str | None:
    """Return why the distance of slices in mm can't be a CT's, or None."""
    if not _SMALLEST_MM <= step_mm <= _LARGEST_STEP_MM:
        return f"slices {step_mm:.3g} mm apart, a spacing that no CT has"
    return None

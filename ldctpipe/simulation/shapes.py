"""Solids in millimetres and how a slice cuts them: signed distances, and painting with soft edges.

x grows to the patient's left (columns), y to the back (rows), z to the head. A distance is negative inside a solid;
it is exact for tubes and first-order near the surface of the others, which is where it matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ldctpipe.simulation.images import Image

FAR_MM = 99.0


@dataclass(frozen=True)
class Mark:
    """Where something lies on a slice: `number` says what; `share` is how much of its middle can be seen."""

    number: int
    offset_mm: float
    row: int
    column: int
    share: float


@dataclass
class Canvas:
    """One slice in the making: HU and the coordinates of its pixels, all of shape (size, size), at height `z`.

    `x` and `y` may be warped, so that no contour is a perfect ellipse; distances are then in warped millimetres.
    """

    hu: Image
    x: Image
    y: Image
    z: float
    pixel_mm: float
    marks: list[Mark] = field(default_factory=list)

    def paint(self, distance: Image, value: float | Image, softness_mm: float = 0.0) -> None:
        """Fill where `distance` is negative with `value`; pixels on the edge get their share."""
        self.blend(self.coverage(distance, softness_mm), value)

    def blend(self, share: Image, value: float | Image) -> None:
        """Move the HU towards `value` by `share` (0: keep, 1: replace); what was marked there is covered by as much."""
        self.marks = [replace(m, share=m.share * (1.0 - float(share[m.row, m.column]))) for m in self.marks]
        self.hu += share * (value - self.hu)

    def coverage(self, distance: Image, softness_mm: float = 0.0) -> Image:
        """Return the share of each pixel that lies inside."""
        coverage: Image = np.clip(0.5 - distance / (self.pixel_mm + softness_mm), 0.0, 1.0)
        return coverage

    def mark(self, number: int, centre: tuple[float, ...], share: Image) -> None:
        """Note where the point `centre` lies on this slice and what `share` is there."""
        nearest = int(((self.x - centre[0]) ** 2 + (self.y - centre[1]) ** 2).argmin())
        row, column = divmod(nearest, self.hu.shape[1])
        self.marks.append(Mark(number, abs(self.z - centre[2]), row, column, float(share[row, column])))

    def nothing(self) -> Image:
        """Return the distance map of an empty solid."""
        return np.full_like(self.hu, FAR_MM)

    def window(self, x: float, y: float, reach_mm: float) -> tuple[slice, slice]:
        """Return rows and columns within `reach_mm` of a point, with a margin for the warp."""
        size, middle = len(self.hu), (len(self.hu) - 1) / 2
        reach = reach_mm + _WARP_MARGIN_MM
        bounds = [(c / self.pixel_mm + middle, reach / self.pixel_mm) for c in (y, x)]
        rows, columns = (slice(max(0, int(c - r)), min(size, int(c + r) + 2)) for c, r in bounds)
        return rows, columns


_WARP_MARGIN_MM = 14.0


@dataclass(frozen=True)
class Ellipsoid:
    """A superellipsoid: exponent 2 is an ellipsoid, 4 nearly a box. `turn_deg` turns it clockwise on the screen."""

    centre: tuple[float, float, float]
    half_axes: tuple[float, float, float]
    exponent: float = 2.0
    turn_deg: float = 0.0

    def distance(self, canvas: Canvas) -> Image:
        """Return the signed distance of every pixel in mm; FAR_MM where the solid can't reach."""
        result = canvas.nothing()
        if abs(canvas.z - self.centre[2]) >= self.half_axes[2] * 1.3:
            return result
        where = canvas.window(self.centre[0], self.centre[1], 1.3 * max(self.half_axes[:2]))
        result[where] = self._distance(canvas.x[where], canvas.y[where], canvas.z)
        return result

    def _distance(self, x: Image, y: Image, z: float) -> Image:
        turn = np.deg2rad(self.turn_deg)
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        dx, dy = x - np.float32(self.centre[0]), y - np.float32(self.centre[1])
        a, b, c = self.half_axes
        u, v = np.abs(cos * dx + sin * dy) / a, np.abs(cos * dy - sin * dx) / b
        w = abs(z - self.centre[2]) / c
        p = self.exponent
        radius = np.maximum(_power(u, p) + _power(v, p) + w**p, 1e-6) ** np.float32(1 / p)
        relative = [part / radius for part in (u, v)]
        slope = np.sqrt((_power(relative[0], p - 1) / a) ** 2 + (_power(relative[1], p - 1) / b) ** 2 + 1e-8)
        distance: Image = (radius - 1) / np.maximum(slope, 0.2 / max(a, b))
        return distance


def _power(base: Image, exponent: float) -> Image:
    if exponent == 1:
        return base
    if exponent == 2:
        return base * base
    return base ** np.float32(exponent)


@dataclass(frozen=True)
class Tube:
    """Cones with round ends between linked points: `points` (n, 3) in mm, a radius each, `links` (m, 2) of indices."""

    points: npt.NDArray[np.float32]
    radii: npt.NDArray[np.float32]
    links: npt.NDArray[np.int32]

    @classmethod
    def chain(
        cls, points: Sequence[Sequence[float]] | npt.NDArray[np.floating[Any]], radii: float | Sequence[float]
    ) -> Tube:
        """Return the tube through `points` in their order."""
        path = np.asarray(points, dtype=np.float32)
        thickness = np.broadcast_to(np.asarray(radii, dtype=np.float32), len(path)).copy()
        first = np.arange(len(path) - 1, dtype=np.int32)
        return cls(path, thickness, np.stack([first, first + 1], axis=1))

    def distance(self, canvas: Canvas, squeeze_z: float = 1.0) -> Image:
        """Return the signed distance of every pixel in mm; `squeeze_z` < 1 stretches the cross-section along z."""
        result = canvas.nothing()
        start, end = self.points[self.links[:, 0]], self.points[self.links[:, 1]]
        r0, r1 = self.radii[self.links[:, 0]], self.radii[self.links[:, 1]]
        reach = np.maximum(r0, r1) / squeeze_z + 2 * canvas.pixel_mm
        low, high = np.minimum(start[:, 2], end[:, 2]) - reach, np.maximum(start[:, 2], end[:, 2]) + reach
        for i in np.flatnonzero((low < canvas.z) & (canvas.z < high)):
            _stamp_cone(result, canvas, start[i], end[i], float(r0[i]), float(r1[i]), squeeze_z)
        return result


def _stamp_cone(
    result: Image,
    canvas: Canvas,
    start: npt.NDArray[np.float32],
    end: npt.NDArray[np.float32],
    r0: float,
    r1: float,
    squeeze_z: float,
) -> None:
    middle = (start + end) / 2
    reach = 0.5 * max(abs(float(end[0] - start[0])), abs(float(end[1] - start[1]))) + max(r0, r1) + 3 * canvas.pixel_mm
    where = canvas.window(float(middle[0]), float(middle[1]), reach)
    x, y, z = canvas.x[where] - start[0], canvas.y[where] - start[1], np.float32((canvas.z - start[2]) * squeeze_z)
    along = end - start
    along[2] *= squeeze_z
    length_squared = float(along @ along) + 1e-6
    share = np.clip((x * along[0] + y * along[1] + z * along[2]) / length_squared, 0.0, 1.0)
    gap = (x - share * along[0]) ** 2 + (y - share * along[1]) ** 2 + (z - share * along[2]) ** 2
    np.minimum(result[where], np.sqrt(gap) - (r0 + share * (r1 - r0)), out=result[where])


def union(distances: Iterable[Image], blend_mm: float = 0.0) -> Image:
    """Return the distance to what lies in any of several solids; `blend_mm` rounds the seams between them."""
    result, *others = distances
    for other in others:
        result = _smooth_minimum(result, other, blend_mm) if blend_mm else np.minimum(result, other)
    return result


def _smooth_minimum(a: Image, b: Image, blend_mm: float) -> Image:
    overlap = np.clip(blend_mm - np.abs(a - b), 0.0, None)
    smooth: Image = np.minimum(a, b) - overlap * overlap / (4 * blend_mm)
    return smooth


def inside_both(a: Image, b: Image) -> Image:
    """Return the distance to what lies in both of two solids."""
    return np.maximum(a, b)


def without(a: Image, b: Image) -> Image:
    """Return the distance to what lies in `a` but not in `b`."""
    return np.maximum(a, -b)

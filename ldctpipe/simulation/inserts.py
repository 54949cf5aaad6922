"""Small things of known place, size and contrast that a reader should find: lesions and nodules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ldctpipe.simulation.images import Image
from ldctpipe.simulation.shapes import Canvas, Ellipsoid


@dataclass(frozen=True)
class Insert:
    """A ball of `radius_mm` at `centre` (x, y, z in mm from the middle of the body) that differs by `contrast_hu`."""

    kind: str
    centre: tuple[float, ...]
    radius_mm: float
    contrast_hu: float

    def distance(self, canvas: Canvas) -> Image:
        """Return the distance to the ball's surface."""
        x, y, z = self.centre
        return Ellipsoid((x, y, z), (self.radius_mm, self.radius_mm, self.radius_mm)).distance(canvas)


def paint_inserts(canvas: Canvas, inserts: Sequence[Insert], organ: Image) -> None:
    """Add and mark the inserts that the slice cuts; `organ` is the share of each pixel that may hold them."""
    for number, insert in enumerate(inserts):
        if abs(canvas.z - insert.centre[2]) < insert.radius_mm:
            canvas.hu += organ * canvas.coverage(insert.distance(canvas), 0.8) * np.float32(insert.contrast_hu)
            canvas.mark(number, insert.centre, organ)


def scatter_inside(
    solid: Ellipsoid, random: np.random.Generator, count: int, low_z: float, high_z: float, fill: float = 0.95
) -> npt.NDArray[np.float32]:
    """Return `count` points (count, 3) spread evenly in the part of `solid` between two heights.

    `fill` < 1 keeps away from the surface. Where the solid does not reach these heights, the points lie at its end.
    """
    (x0, y0, z0), (a, b, c) = solid.centre, solid.half_axes
    lowest, highest = max(low_z, z0 - fill * c), min(high_z, z0 + fill * c)
    z = random.uniform(min(lowest, highest), max(lowest, highest), count)
    room = fill * np.sqrt(np.clip(1 - ((z - z0) / c) ** 2, 0.02, 1))
    angle, share = random.uniform(0, 2 * np.pi, count), np.sqrt(random.uniform(0, 1, count)) * room
    u, v = a * share * np.cos(angle), b * share * np.sin(angle)
    turn = np.deg2rad(solid.turn_deg)
    x, y = x0 + np.cos(turn) * u - np.sin(turn) * v, y0 + np.sin(turn) * u + np.cos(turn) * v
    return np.stack([x, y, z], axis=1).astype(np.float32)

"""Loops of bowel: a wall around water, contrast medium, stool or gas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ldctpipe.simulation.images import Image
from ldctpipe.simulation.shapes import Canvas, Tube, inside_both
from ldctpipe.simulation.tissue import Enhancement, Tissue
from ldctpipe.simulation.torso import Build
from ldctpipe.simulation.vessels import winding_path


@dataclass(frozen=True)
class Loop:
    """A winding piece of bowel. Above `gas_above_mm` (y below it) it holds gas; `stool` makes its content speckled."""

    tube: Tube
    wall_mm: float
    content_hu: float
    gas_above_mm: float
    stool: bool


def draw_loops(
    random: np.random.Generator, build: Build, low_z: float, high_z: float, count: int = 9, spread: float = 1.0
) -> tuple[Loop, ...]:
    """Return small bowel in the front of the cavity and the colon around it; `spread` < 1 keeps off the walls."""
    w, d = spread * build.cavity_width, build.cavity_depth
    low = np.array([-0.72 * w, -0.72 * d, low_z - 30], dtype=np.float32)
    high = np.array([0.72 * w, 0.15 * d, high_z + 30], dtype=np.float32)
    loops = [_small_loop(random, low, high) for _ in range(count)]
    span = (low_z - 60, high_z + 60)
    ascending = _colon(random, [(-0.78 * w, 0.12 * d, span[0]), (-0.76 * w, 0.08 * d, span[1])], 0.08 * d)
    descending = _colon(random, [(0.8 * w, 0.3 * d, span[0]), (0.8 * w, 0.25 * d, span[1])], 0.26 * d)
    middle = (low_z + high_z) / 2
    across = [(-0.7 * w, -0.35 * d, middle - 15), (0.0, -0.72 * d, middle - 25), (0.7 * w, -0.35 * d, middle + 15)]
    return (*loops, ascending, descending, _colon(random, across, -0.6 * d))


def _small_loop(random: np.random.Generator, low: Image, high: Image) -> Loop:
    x, y, z = random.uniform(low, high)
    path = winding_path((float(x), float(y), float(z)), 26, 9.0, low, high, random)
    content_hu = float(random.choice([15.0, 25.0, 35.0, 230.0], p=[0.3, 0.3, 0.25, 0.15])) + random.normal(0, 8)
    gas = float(path[:, 1].min() + random.uniform(-10, 14))
    return Loop(Tube.chain(path, random.uniform(8.5, 13.5)), random.uniform(1.6, 2.8), content_hu, gas, False)


def _colon(random: np.random.Generator, corners: list[tuple[float, float, float]], gas: float) -> Loop:
    path = np.array(corners, dtype=np.float32)
    stations = np.linspace(0, len(path) - 1, 40)
    points = np.stack([np.interp(stations, np.arange(len(path)), path[:, axis]) for axis in range(3)], axis=1)
    points[:, :2] += 4 * np.sin(np.linspace(0, 9, 40) + random.uniform(0, 6))[:, None]
    radii = random.uniform(15, 21) * (1 + 0.13 * np.sin(np.linspace(0, 30, 40)))
    return Loop(Tube.chain(points, list(radii)), 2.2, 20.0, gas + random.uniform(-14, 8), bool(random.random() < 0.75))


def paint_loop(canvas: Canvas, loop: Loop, cavity: Image, tissue: Tissue, phase: Enhancement) -> None:
    """Paint one loop into the cavity."""
    outside = loop.tube.distance(canvas)
    if outside.min() > 0:
        return
    outside = inside_both(outside + 0.9 * tissue.field("bulges", canvas.z), cavity + 2.5)
    lumen = outside + loop.wall_mm
    canvas.paint(outside, phase.bowel_wall_hu)
    if loop.stool:
        speckle = tissue.field("strands", canvas.z + 900) + 0.8 * tissue.field("grain", canvas.z)
        canvas.paint(lumen, 15.0 + 35.0 * speckle)
        canvas.paint(np.maximum(lumen + 1, 1.6 - speckle), -700.0, 1.0)
    else:
        canvas.paint(lumen, tissue.soft(loop.content_hu, canvas.z, 6.0))
    canvas.paint(np.maximum(lumen, canvas.y - loop.gas_above_mm), -985.0)

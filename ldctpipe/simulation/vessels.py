"""Branching vessels that fill a region, and winding tubes for bowel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ldctpipe.simulation.shapes import Tube

Points = npt.NDArray[np.float32]
_MURRAY_EXPONENT = (
    2.8  # the cubes of the radii of two branches add up to that of their parent in Murray's law; measured: 2.7 to 3
)


def tree(
    root: tuple[float, float, float],
    targets: Points,
    leaf_radius_mm: float,
    random: np.random.Generator,
    stem: float = 0.4,
) -> Tube:
    """Return a tree from `root` to all `targets` (n, 3): the targets are split in halves again and again.

    The radius follows Murray's law from `leaf_radius_mm` at the ends; `stem` is the share of the way to the middle of
    its targets that a branch runs before it splits.
    """
    points, radii, links = [np.asarray(root, dtype=np.float32)], [_radius(len(targets), leaf_radius_mm)], []
    open_branches = [(0, np.arange(len(targets)))]
    while open_branches:
        parent, group = open_branches.pop()
        cloud, start = targets[group], points[parent]
        tip = cloud[0] if len(group) == 1 else start + stem * (cloud.mean(axis=0) - start)
        sway = random.normal(0.0, 0.06 * float(np.linalg.norm(tip - start)) + 0.2, 3)
        points.append((tip + sway).astype(np.float32))
        radii.append(_radius(len(group), leaf_radius_mm))
        links.append((parent, len(points) - 1))
        if len(group) > 1:
            open_branches += [(len(points) - 1, half) for half in _halves(cloud, group, random)]
    return Tube(np.stack(points), np.asarray(radii, dtype=np.float32), np.asarray(links, dtype=np.int32))


def _radius(leaves: int, leaf_radius_mm: float) -> float:
    return leaf_radius_mm * leaves ** (1 / _MURRAY_EXPONENT)


def _halves(cloud: Points, group: npt.NDArray[np.int64], random: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    centred = cloud - cloud.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(centred @ directions[:, -1], kind="stable")
    cut = int(np.clip(round(len(group) * random.uniform(0.35, 0.65)), 1, len(group) - 1))
    return [group[order[:cut]], group[order[cut:]]]


def winding_path(
    start: tuple[float, float, float],
    steps: int,
    step_mm: float,
    low: Points,
    high: Points,
    random: np.random.Generator,
) -> Points:
    """Return a path (steps + 1, 3) that wanders within the box from `low` to `high` and turns back at its walls."""
    position, heading = np.asarray(start, dtype=np.float32), random.normal(size=3)
    path = [position]
    for _ in range(steps):
        heading = heading / np.linalg.norm(heading) + random.normal(0.0, 0.35, 3)
        step = (step_mm * heading / np.linalg.norm(heading)).astype(np.float32)
        outside = (position + step < low) | (position + step > high)
        heading = np.where(outside, -heading, heading)
        position = np.clip(position + np.where(outside, -step, step), low, high).astype(np.float32)
        path.append(position)
    return np.stack(path)

"""Simulated slices with known noise, for tests that need pairs and no physics."""

from __future__ import annotations

import numpy as np


def noisy_body(slices: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a low-dose and a full-dose stack of a water ellipse with inserts in air, as int16 HU."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:side, :side] / side - 0.5
    clean = np.where((row / 0.4) ** 2 + (column / 0.45) ** 2 < 1, 40.0, -1000.0)
    for _ in range(6):
        centre = rng.uniform(-0.25, 0.25, 2)
        inside = (row - centre[0]) ** 2 + (column - centre[1]) ** 2 < rng.uniform(0.03, 0.1) ** 2
        clean[inside] = rng.choice([-90.0, 120.0, 300.0, -800.0])
    full = clean + rng.normal(0, 10, (slices, side, side))
    low = full + rng.normal(0, 25, (slices, side, side))
    return np.rint(low).astype(np.int16), np.rint(full).astype(np.int16)

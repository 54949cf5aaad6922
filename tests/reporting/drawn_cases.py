"""Drawn trunks as cases, and their evaluation: what a run folder of these tests is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from ldctpipe.metrics.evaluation import evaluate_cohort
from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.volumes.case import write_case
from ldctpipe.volumes.volume import Volume

SIDE = 160


def anatomy(seed: int, slices: int) -> np.ndarray:
    """A trunk with fat, organs, vessels, lungs and a spine, (slices, 160, 160) float HU, without noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]

    def disc(row: float, column: float, height: float, width: float) -> np.ndarray:
        return np.hypot((rows - row) / height, (columns - column) / width) < 1

    hu = np.full((SIDE, SIDE), -1000.0)
    hu[disc(80, 80, 58, 72)] = -100
    hu[disc(80, 80, 52, 65)] = 45
    hu[disc(72, 45, 24, 20)] = -820
    hu[disc(78, 108, 26, 28)] = 85
    hu[disc(118, 80, 12, 13)] = 420
    for _ in range(25):
        hu[disc(random.uniform(58, 100), random.uniform(88, 126), 2, 2)] = 150
    return gaussian_filter(hu, 0.7)[None].repeat(slices, axis=0)


def put(folder: Path, hu: np.ndarray, key: str) -> None:
    (folder / key).mkdir(parents=True)
    whole = np.rint(hu).astype(np.int16)
    write_case(folder / key, Volume(whole, np.diag([1.6, 1.6, 3.0, 1.0]), 3.0 * np.arange(len(hu)), key=key))


def evaluate(root: Path) -> None:
    evaluate_cohort(
        root / "denoised", root / "cases", root / "cases", root / "metrics", find_protocol("mayo-soft"), threads=1
    )

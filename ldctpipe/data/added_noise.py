"""What the low dose adds to the full dose, in the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ldctpipe.data.origins import BODY_ABOVE_HU
from ldctpipe.volumes.volume import HuArray


@dataclass
class AddedNoise:
    """Sums over the body of low minus full dose, in HU; whole numbers, so that no order of adding matters."""

    pixels: int = 0
    sum_hu: int = 0
    sum_of_squares: int = 0

    def add(self, low: HuArray, full: HuArray) -> None:
        """Count one slice, given as whole HU."""
        body = full > BODY_ABOVE_HU
        added = low[body].astype(np.int64) - full[body]
        self.add_sums(AddedNoise(added.size, int(added.sum()), int((added**2).sum())))

    def add_sums(self, other: AddedNoise) -> None:
        """Count what `other` has counted."""
        self.pixels += other.pixels
        self.sum_hu += other.sum_hu
        self.sum_of_squares += other.sum_of_squares

    def mean_and_sd_hu(self) -> tuple[float, float]:
        """Return mean and standard deviation; 0 where nothing was counted."""
        mean = self.sum_hu / max(self.pixels, 1)
        return mean, float(np.sqrt(max(self.sum_of_squares / max(self.pixels, 1) - mean**2, 0.0)))

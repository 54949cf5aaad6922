"""Low doses made from full-dose scans while a store is written: one fixed for the pairs, and noise for any other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ldctpipe.data.pairing import Pair
from ldctpipe.data.store import NOISE_UNIT_HU
from ldctpipe.progress import warn
from ldctpipe.simulation.calibrated_scan import CalibratedScan, calibrated_scan
from ldctpipe.simulation.exposure import DoseRange, Exposure
from ldctpipe.simulation.noise import DEFAULT_ELECTRONIC_RATIO
from ldctpipe.simulation.noise_components import NoiseComponents
from ldctpipe.simulation.reduction import reduced
from ldctpipe.volumes.volume import Volume

_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class SimulatedDoses:
    """A range of doses to train on, and how many noise images a slice gets to mix them from."""

    doses: DoseRange
    realisations: int = 2
    seed: int = 1
    threads: int | None = None

    @property
    def middle(self) -> float:
        """The dose in the middle of the range by its logarithm: that of the pairs, on which validation rests."""
        return math.sqrt(self.doses.lowest * self.doses.highest)

    def scan(self, full: Volume) -> CalibratedScan:
        """Return a full-dose volume with its noise; warns of what makes it doubtful."""
        scan = calibrated_scan(full, threads=self.threads)
        for warning in scan.warnings:
            warn(f"series {full.key}: {warning}")
        return scan

    def pair(self, scan: CalibratedScan) -> Pair:
        """Return the scan with its partner at the middle dose."""
        full = scan.volume
        low = replace(full, hu=reduced(scan, Exposure(self.middle), self.seed, threads=self.threads).hu)
        every = np.arange(len(full.hu))
        return Pair(low, full, every, every)

    def noise(self, scan: CalibratedScan, rows: int, columns: int) -> Iterator[npt.NDArray[np.int16]]:
        """Yield (realisations, 2, rows, columns) in `NOISE_UNIT_HU` for each slice; 0 around a smaller slice."""
        components = NoiseComponents(scan, self.seed, self.realisations, self.doses.lowest)
        for images in components.images(self.threads):
            stored = np.zeros((self.realisations, 2, rows, columns), dtype=np.int16)
            whole = np.rint(images / NOISE_UNIT_HU).clip(_INT16.min, _INT16.max)
            stored[..., : images.shape[2], : images.shape[3]] = whole
            yield stored

    def describe(self) -> dict[str, Any]:
        """Return what a sampler has to know."""
        return {
            "lowest_dose": self.doses.lowest,
            "highest_dose": self.doses.highest,
            "dose_of_pairs": self.middle,
            "varied": self.doses.vary,
            "realisations": self.realisations,
            "electronic_ratio": DEFAULT_ELECTRONIC_RATIO,
            "seed": self.seed,
        }

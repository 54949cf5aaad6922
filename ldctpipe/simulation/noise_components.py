"""Noise images of unit weight, from which any dose is made by weighting: quantum and electronic noise apart.

The variance that dose a adds to a ray of N quanta is (1/a − 1)/N + (1/a² − 1) σₑ²/N². The image of √(1/N) ε₁ and that
of (σₑ/N) ε₂, both reconstructed once, give every dose as √(1/a − 1) and √(1/a² − 1) times them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe.simulation.calibrated_scan import CalibratedScan
from ldctpipe.simulation.field_of_view import SquareSlices, unmeasured
from ldctpipe.simulation.noise import starvation_limit
from ldctpipe.simulation.randomness import slice_deviates
from ldctpipe.simulation.workers import each_slice

QUANTUM, ELECTRONIC = 0, 1  # along the axis of noise images that tells the two kinds apart


@dataclass(frozen=True)
class NoiseComponents:
    """What draws unit noise images of a scan.

    Rays that would starve at `lowest_dose` count as if they just did not: weights can't turn one image into the clipped
    counts that a starved ray has at one dose and not at another.
    """

    scan: CalibratedScan
    seed: int
    realisations: int
    lowest_dose: float

    def images(self, threads: int | None = None) -> Iterator[npt.NDArray[np.float32]]:
        """Yield (realisations, 2, rows, columns) in HU for each slice in order; 0 where nothing was measured."""
        yield from each_slice(self._drawer(), range(len(self.scan.volume.hu)), threads)

    def _drawer(self) -> Callable[[int], npt.NDArray[np.float32]]:
        volume, noise = self.scan.volume, self.scan.noise
        squares, model = SquareSlices(volume), noise.model
        deviates = slice_deviates(self.seed, noise.key, noise.positions_mm, noise.thickness_mm)
        electronic_variance = model.electronic_variance
        fewest = starvation_limit(electronic_variance) / self.lowest_dose

        def draw(index: int) -> npt.NDArray[np.float32]:
            quanta = model.ray_quanta * noise.current[index] * noise.transmitted(squares[index])
            quanta = quanta.clamp(min=fewest)
            scales = (quanta.rsqrt(), electronic_variance**0.5 / quanta)
            shape = (quanta.shape[0], quanta.shape[1])
            rays = [
                scale * torch.from_numpy(deviates.of_slice(index, shape, f"{kind} {number}")).to(quanta.device)
                for number in range(self.realisations)
                for kind, scale in zip(("quantum", "electronic"), scales, strict=True)
            ]
            rows, columns = squares.middle
            images = model.reconstruct(torch.stack(rays)).cpu().numpy()[:, rows, columns]
            images[:, unmeasured(volume, index)] = 0.0
            return images.reshape(self.realisations, 2, *images.shape[1:])

        return draw

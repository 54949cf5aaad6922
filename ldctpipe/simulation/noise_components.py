"""Noise images of unit weight, from which any dose is made by weighting: quantum and electronic noise apart.

The variance that dose a adds to a ray of N quanta is (1/a − 1)/N + (1/a² − 1) σₑ²/N². The image of √(1/N) ε₁ and that of
(σₑ/N) ε₂, both reconstructed once, give every dose as √(1/a − 1) and √(1/a² − 1) times them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe.simulation.field_of_view import SquareSlices, unmeasured
from ldctpipe.simulation.noise import NoiseModel, starvation_limit
from ldctpipe.simulation.randomness import slice_deviates
from ldctpipe.simulation.workers import each_slice
from ldctpipe.volumes.volume import Volume


@dataclass(frozen=True)
class NoiseComponents:
    """What draws unit noise images of one series: its calibrated model and the tube current of each slice.

    Rays that would starve at `lowest_dose` count as if they just did not: weights can't turn one image into the clipped
    counts that a starved ray has at one dose and not at another.
    """

    volume: Volume
    model: NoiseModel
    current: npt.NDArray[np.float64]
    seed: int
    realisations: int
    lowest_dose: float

    def images(self, threads: int | None = None) -> Iterator[npt.NDArray[np.float32]]:
        """Yield (realisations, 2, rows, columns) in HU for each slice in order: quantum noise, then electronic."""
        yield from each_slice(self._drawer(), range(len(self.volume.hu)), threads)

    def _drawer(self) -> Callable[[int], npt.NDArray[np.float32]]:
        squares = SquareSlices(self.volume)
        rows, columns = squares.middle
        thickness_mm = self.volume.acquisition.slice_thickness_mm
        deviates = slice_deviates(self.seed, self.volume.key, self.volume.positions_mm.tolist(), thickness_mm)
        variance = self.model.electronic_variance
        fewest = starvation_limit(variance) / self.lowest_dose

        def draw(index: int) -> npt.NDArray[np.float32]:
            flux = self.model.transmitted(torch.from_numpy(squares[index][None]).to(self.model.device))[0]
            quanta = (self.model.ray_quanta * float(self.current[index]) * flux).clamp(min=fewest)
            scales = (quanta.rsqrt(), variance**0.5 / quanta)
            shape = (quanta.shape[0], quanta.shape[1])
            rays = [
                scale * torch.from_numpy(deviates.of_slice(index, shape, f"{term} {number}")).to(quanta.device)
                for number in range(self.realisations)
                for term, scale in zip(("quantum", "electronic"), scales, strict=True)
            ]
            images = self.model.reconstruct(torch.stack(rays)).cpu().numpy()[:, rows, columns]
            images[:, unmeasured(self.volume, index)] = 0.0
            return images.reshape(self.realisations, 2, *images.shape[1:])

        return draw

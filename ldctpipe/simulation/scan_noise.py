"""The noise of one calibrated series: all that is needed to make any slice of it noisier, and nothing of its pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe.simulation.exposure import Exposure
from ldctpipe.simulation.noise import NoiseModel, dose_noise
from ldctpipe.simulation.randomness import SliceDeviates, slice_deviates

_SERIES_KEPT = 8


@dataclass(frozen=True)
class ScanNoise:
    """Noise model of a series with its tube current by slice and its slices' places along z.

    `key` names the series in the seeds of its random numbers; `current` is relative to the mean.
    """

    model: NoiseModel
    key: str
    positions_mm: tuple[float, ...]
    thickness_mm: float | None
    current: tuple[float, ...]

    def exposed(self, exposure: Exposure) -> NoiseModel:
        """Return the model with what `exposure` varies."""
        ratio = self.model.electronic_ratio if exposure.electronic_ratio is None else exposure.electronic_ratio
        return replace(
            self.model,
            quanta=self.model.quanta * exposure.quanta_factor,
            cutoff_per_mm=self.model.cutoff_per_mm * exposure.cutoff_factor,
            electronic_ratio=ratio,
        )

    def transmitted(self, square_hu: npt.NDArray[np.float32]) -> torch.Tensor:
        """Return quanta per quantum in air, (views, channels), for a square slice with air where nothing is."""
        return self.model.transmitted(torch.from_numpy(square_hu[None]).to(self.model.device))[0]

    def added(
        self, transmitted: torch.Tensor, index: int, exposure: Exposure, seed: int, realisation: int = 0
    ) -> tuple[npt.NDArray[np.float32], float]:
        """Return the noise in HU that takes slice `index` to `exposure`, (size, size), and its share of starved rays.

        `realisation` tells copies of the same series apart; `seed`, series, slice and it give the same numbers always.
        """
        key = f"{self.key} {realisation}" if realisation else self.key
        deviates = _deviates(seed, key, self.positions_mm, self.thickness_mm)
        model, current = self.exposed(exposure), np.asarray(self.current)
        noise = dose_noise(transmitted[None], model, exposure.dose, deviates, [index], current)
        return noise.hu[0].cpu().numpy(), float(noise.starved_fraction[0])


@lru_cache(maxsize=_SERIES_KEPT)
def _deviates(seed: int, key: str, positions_mm: tuple[float, ...], thickness_mm: float | None) -> SliceDeviates:
    return slice_deviates(seed, key, positions_mm, thickness_mm)

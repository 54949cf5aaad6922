"""The noise of one calibrated series: all that is needed to make any slice of it noisier, and nothing of its pixels."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe.simulation.exposure import Exposure
from ldctpipe.simulation.noise import NoiseModel, dose_noise
from ldctpipe.simulation.randomness import SliceDeviates, slice_deviates

_FLUX_BINNING = 2
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

    def as_json(self) -> dict[str, Any]:
        """Return everything as values that JSON has, without the device."""
        model = {name: value for name, value in asdict(self.model).items() if name != "device"}
        return {
            "model": model,
            "key": self.key,
            "positions_mm": list(self.positions_mm),
            "thickness_mm": self.thickness_mm,
            "current": list(self.current),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any], device: str = "cpu") -> ScanNoise:
        """Return what `as_json` gave, on `device`."""
        return cls(
            NoiseModel(**values["model"], device=device),
            values["key"],
            tuple(values["positions_mm"]),
            values["thickness_mm"],
            tuple(values["current"]),
        )


@lru_cache(maxsize=_SERIES_KEPT)
def _deviates(seed: int, key: str, positions_mm: tuple[float, ...], thickness_mm: float | None) -> SliceDeviates:
    return slice_deviates(seed, key, positions_mm, thickness_mm)


def packed_flux(transmitted: torch.Tensor) -> npt.NDArray[np.float16]:
    """Return the logarithm of `transmitted` at half its sampling, an eighth of its bytes, to keep beside a slice."""
    logarithm = torch.log(transmitted.clamp(min=1e-7))[None, None]
    pooled = torch.nn.functional.avg_pool2d(logarithm, _FLUX_BINNING, ceil_mode=True)
    return pooled[0, 0].cpu().numpy().astype(np.float16)


def unpacked_flux(packed: npt.NDArray[np.float16], shape: tuple[int, int], device: str = "cpu") -> torch.Tensor:
    """Return what `packed_flux` was made from, (views, channels) of `shape`, with some 1 % of error in places."""
    logarithm = torch.from_numpy(packed.astype(np.float32)).to(device)[None, None]
    rows, columns = (_FLUX_BINNING * count for count in packed.shape)
    even = torch.nn.functional.interpolate(logarithm, size=(rows, columns), mode="bilinear", align_corners=False)
    return torch.exp(even[0, 0, : shape[0], : shape[1]])

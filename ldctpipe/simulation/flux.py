"""How many quanta reach each detector sample: attenuation, tube current, bow-tie filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe.simulation.operators import ParallelBeam

WATER_PER_MM = 0.0192
"""Attenuation of water for a 120 kVp spectrum."""

AIR_HU = -1000.0

_BOW_TIE_RADII_MM = (0.0, 54.0, 107.0, 160.0, 210.0)
# Transmission at these radii: XCIST's aluminium profiles (gecatsim/bowtie) at 0.75/cm, 60 keV.
_BOW_TIES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "large": (1.0, 0.92, 0.44, 0.13, 0.084),
        "medium": (1.0, 0.82, 0.31, 0.10, 0.08),
        "small": (1.0, 0.67, 0.18, 0.09, 0.085),
        "none": (1.0, 1.0, 1.0, 1.0, 1.0),
    }
)


def attenuation_per_pixel(hu: torch.Tensor, pixel_mm: float) -> torch.Tensor:
    """Return the attenuation over one pixel's width for HU; what would be below that of air is nothing."""
    return (WATER_PER_MM * pixel_mm * (1.0 + hu / 1000.0)).clamp(min=0.0)


def line_integrals(hu: torch.Tensor, geometry: ParallelBeam, pixel_mm: float) -> torch.Tensor:
    """Return the attenuation along every ray, shape (slices, views, channels), for HU of (slices, size, size)."""
    return geometry.project(attenuation_per_pixel(hu, pixel_mm), coarse=True)


def relative_flux(
    integrals: torch.Tensor, channel_mm: float, bow_tie: str = "large", angular_modulation: float = 0.0
) -> torch.Tensor:
    """Return quanta behind the patient per quantum in the unfiltered central ray, in the shape of `integrals`.

    `angular_modulation` between 0 (constant tube current) and 1 (the noise-optimal exp(p_max(θ)/2), Gies 1999) lets
    more through where the patient is thick.
    """
    channels = integrals.shape[-1]
    radius_mm = np.abs(np.arange(channels) - (channels - 1) / 2) * channel_mm
    filtered = bow_tie_transmission(radius_mm, bow_tie).astype(np.float32)
    current = torch.exp(0.5 * angular_modulation * integrals.amax(dim=-1, keepdim=True))
    current = current / current.mean(dim=-2, keepdim=True)
    return current * torch.as_tensor(filtered, device=integrals.device) * torch.exp(-integrals)


def bow_tie_transmission(radius_mm: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
    """Return the share of quanta that the bow-tie filter lets through at a distance from the isocentre."""
    return np.exp(np.interp(radius_mm, _BOW_TIE_RADII_MM, np.log(_BOW_TIES[name])))


def current_factors(values: Sequence[float | None] | None, slices: int) -> npt.NDArray[np.float64]:
    """Return the tube current of each slice relative to the mean; 1 throughout where the header is incomplete."""
    if values is None or len(values) != slices or any(value is None or value <= 0 for value in values):
        return np.ones(slices)
    current = np.asarray(values, dtype=np.float64)
    return current / current.mean()

"""Doses drawn anew for every patch: weights of stored noise images, so that a draw costs one multiplication.

The images are those of `simulation.noise_components`, one kind for quantum and one for electronic noise. Scaled, they
give the noise of any dose, of any calibration error of the quanta, and of any electronic noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ldctpipe.simulation.exposure import ELECTRONIC_RATIOS, QUANTA_SPREAD, DoseRange


def dose_weights(
    doses: DoseRange, count: int, realisations: int, stored_ratio: float, generator: torch.Generator
) -> Tensor:
    """Return weights (count, realisations, 2) of unit noise images, a new dose for each of `count` patches.

    Each kind's realisations are mixed by a random direction on the unit sphere: their sum is noise of the same
    covariance that no stored image holds. `stored_ratio` is the electronic ratio of the stored images.
    """
    dose = _log_uniform(count, doses.lowest, doses.highest, generator)
    ratio = _log_uniform(count, *(ELECTRONIC_RATIOS if doses.vary else (stored_ratio, stored_ratio)), generator)
    error = torch.randn(count, generator=generator, dtype=torch.float64)
    quanta = torch.exp((QUANTA_SPREAD if doses.vary else 0.0) * error)
    quantum = torch.sqrt((1 / dose - 1) / quanta)
    electronic = torch.sqrt((1 / dose**2 - 1) * (ratio / stored_ratio) / quanta)
    mixture = torch.randn(count, realisations, 2, generator=generator, dtype=torch.float64)
    mixture = mixture / mixture.norm(dim=1, keepdim=True)
    return (mixture * torch.stack((quantum, electronic), dim=1)[:, None, :]).float()


def _log_uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    fraction = torch.rand(count, generator=generator, dtype=torch.float64)
    return torch.exp(math.log(low) + fraction * math.log(high / low))

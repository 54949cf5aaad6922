"""Doses drawn anew for every patch: weights of stored noise images, so that a draw costs one multiplication.

The variance that dose a adds to a line integral is (1/a − 1)/N + (1/a² − 1) σₑ²/N². Its two terms are independent and
FBP is linear, so one noise image of unit weight for each term, scaled, gives the noise of any dose, of any calibration
error of N, and of any electronic noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ldctpipe.errors import UsageError

QUANTUM, ELECTRONIC = 0, 1  # along the axis of noise images that tells the two terms apart


@dataclass(frozen=True)
class DoseRange:
    """Shares of the full dose from `lowest` to `highest`, log-uniform, and what else varies with them.

    `quanta_spread` is the standard deviation of the logarithm of the calibration error; `electronic_ratio` the bounds
    of electronic variance over quanta in air, log-uniform.
    """

    lowest: float
    highest: float
    quanta_spread: float = 0.3
    electronic_ratio: tuple[float, float] = (2e-5, 3e-4)

    def __post_init__(self) -> None:
        if not 0.0 < self.lowest <= self.highest <= 1.0:
            fault = f"doses from {self.lowest:g} to {self.highest:g} are not a range above 0 and at most 1"
            raise UsageError(None, fault, "give two shares such as 0.05:0.6")

    @classmethod
    def parse(cls, text: str) -> DoseRange:
        """Return the range that "0.05:0.6" names; raises `UsageError` for anything else."""
        try:
            lowest, highest = map(float, text.split(":"))
        except ValueError:
            raise UsageError(None, f"{text} is not a range of doses", "give two shares such as 0.05:0.6") from None
        return cls(lowest, highest)

    @classmethod
    def of(cls, description: dict[str, Any]) -> DoseRange:
        """Return the range that `describe` described."""
        return cls(**{**description, "electronic_ratio": tuple(description["electronic_ratio"])})

    def describe(self) -> dict[str, Any]:
        """Return the range as plain values."""
        return {
            "lowest": self.lowest,
            "highest": self.highest,
            "quanta_spread": self.quanta_spread,
            "electronic_ratio": list(self.electronic_ratio),
        }

    @property
    def middle(self) -> float:
        """The dose in the middle of the range on its logarithmic scale."""
        return math.sqrt(self.lowest * self.highest)

    def weights(self, count: int, realisations: int, stored_ratio: float, generator: torch.Generator) -> Tensor:
        """Return weights (count, realisations, 2) of unit noise images, a new dose for each of `count` patches.

        Each term's realisations are mixed by a random direction on the unit sphere: their sum is noise of the same
        covariance that no stored image holds. `stored_ratio` is the electronic ratio of the stored images.
        """
        dose = _log_uniform(count, self.lowest, self.highest, generator)
        ratio = _log_uniform(count, *self.electronic_ratio, generator)
        quanta = torch.exp(self.quanta_spread * torch.randn(count, generator=generator, dtype=torch.float64))
        quantum = torch.sqrt((1 / dose - 1) / quanta)
        electronic = torch.sqrt((1 / dose**2 - 1) * (ratio / stored_ratio) / quanta)
        mixture = torch.randn(count, realisations, 2, generator=generator, dtype=torch.float64)
        mixture = mixture / mixture.norm(dim=1, keepdim=True)
        return (mixture * torch.stack((quantum, electronic), dim=1)[:, None, :]).float()


def _log_uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    fraction = torch.rand(count, generator=generator, dtype=torch.float64)
    return torch.exp(math.log(low) + fraction * math.log(high / low))

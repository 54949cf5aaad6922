"""The dose of a simulated scan and what varies around it, fixed or drawn at random for training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ldctpipe.errors import UsageError
from ldctpipe.simulation.randomness import slice_seed, stream

# Ranges for training (log-uniform, normal and uniform): what is not known about a scanner, and doses of practice.
QUANTA_SPREAD = 0.3
ELECTRONIC_RATIOS = (2e-5, 3e-4)
CUTOFF_SPREAD = 0.1


@dataclass(frozen=True)
class Exposure:
    """One dose as a share of the scan's own, with factors on the calibrated quanta and on the kernel's cutoff.

    `electronic_ratio` None means the calibrated one.
    """

    dose: float
    quanta_factor: float = 1.0
    cutoff_factor: float = 1.0
    electronic_ratio: float | None = None

    def __post_init__(self) -> None:
        check_dose(self.dose)


def check_dose(dose: float) -> float:
    """Return `dose`; raises `UsageError` where it is not above 0 and at most 1."""
    if not 0.0 < dose <= 1.0:
        raise UsageError(None, f"a dose of {dose:g} is not above 0 and at most 1", "give a share such as 0.25")
    return dose


@dataclass(frozen=True)
class DoseRange:
    """Doses between `lowest` and `highest`, equally likely by their logarithm.

    With `vary`, quanta, electronic noise and kernel vary too, by what a calibration can be wrong. `each_slice` draws
    for every slice of a series, otherwise once for the series.
    """

    lowest: float
    highest: float
    vary: bool = False
    each_slice: bool = False

    def __post_init__(self) -> None:
        check_dose(self.lowest)
        check_dose(self.highest)
        if self.lowest > self.highest:
            fault = f"the dose range {self.lowest:g}:{self.highest:g} runs backwards"
            raise UsageError(None, fault, "give the lower dose first, such as 0.05:0.6")

    def draw(self, seed: int, key: str, index: int, realisation: int = 0) -> Exposure:
        """Return the exposure of slice `index` of the series `key`; the same arguments give the same exposure."""
        place = index if self.each_slice else -1
        random = stream(slice_seed(seed, key, place, realisation))
        dose = math.exp(random.uniform(math.log(self.lowest), math.log(self.highest)))
        if not self.vary:
            return Exposure(min(dose, 1.0))
        return Exposure(
            min(dose, 1.0),
            math.exp(random.normal(0.0, QUANTA_SPREAD)),
            random.uniform(1.0 - CUTOFF_SPREAD, 1.0 + CUTOFF_SPREAD),
            math.exp(random.uniform(math.log(ELECTRONIC_RATIOS[0]), math.log(ELECTRONIC_RATIOS[1]))),
        )

"""Learning rate as a pure function of the iteration, so that resuming needs no scheduler state."""

from __future__ import annotations

import math

from ldctpipe.recipes.schema import Schedule


def rate_fraction(schedule: Schedule, iteration: int, iterations: int) -> float:
    """Return the share of the full learning rate at a 0-based iteration.

    Cosine annealing with warm restarts (Loshchilov 2017, arXiv 1608.03983, equation 5) in equal cycles that fill the
    run.
    """
    if schedule.name == "constant":
        return 1.0
    period = iterations / schedule.cycles
    phase = (iteration % period) / period
    return schedule.final_fraction + (1 - schedule.final_fraction) * (1 + math.cos(math.pi * phase)) / 2

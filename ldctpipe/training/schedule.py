"""Learning rate as a pure function of the iteration, so that resuming needs no scheduler state."""

from __future__ import annotations

import math

from ldctpipe.recipes.schema import Schedule


def rate_fraction(schedule: Schedule, iteration: int, iterations: int) -> float:
    """Return the share of the full learning rate at a 0-based iteration; `Schedule` says what each kind does.

    Cosine annealing with warm restarts is Loshchilov 2017, arXiv 1608.03983, equation 5, in equal cycles that fill the
    run.
    """
    rising = min(1.0, (iteration + 1) / (schedule.warmup * iterations)) if schedule.warmup else 1.0
    return rising * _after_warmup(schedule, iteration, iterations)


def _after_warmup(schedule: Schedule, iteration: int, iterations: int) -> float:
    done, final = iteration / iterations, schedule.final_fraction
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "linear":
        falling = max(0.0, (done - schedule.flat) / (1 - schedule.flat)) if schedule.flat < 1 else 0.0
        return 1 - (1 - final) * falling
    if schedule.name == "exponential":
        return float(final**done)
    if schedule.name == "steps":
        return float(schedule.step_factor ** sum(done >= step for step in schedule.steps))
    if schedule.name == "harmonic":
        slowing = (1 / final - 1) / max(1, schedule.cycles - 1)
        return 1 / (1 + slowing * int(done * schedule.cycles))
    start = first_of_cycles(schedule, iterations)
    if iteration < start:
        return 1.0
    period = (iterations - start) / schedule.cycles
    phase = ((iteration - start) % period) / period
    return final + (1 - final) * (1 + math.cos(math.pi * phase)) / 2


def restarts(schedule: Schedule) -> bool:
    """Tell whether each cycle anneals the learning rate from its full value to its least."""
    return schedule.name == "cosine_warm_restarts"


def first_of_cycles(schedule: Schedule, iterations: int) -> float:
    """Return after how many iterations the first cycle begins; it need not be a whole number."""
    return max(schedule.flat, schedule.warmup) * iterations if restarts(schedule) else 0.0

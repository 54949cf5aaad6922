"""When a training has stopped improving, judged cycle by cycle of its learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ldctpipe.recipes.schema import Schedule, Training
from ldctpipe.training.schedule import first_of_cycles, restarts


@dataclass(frozen=True)
class CycleLosses:
    """The validation loss of each cycle that is over; part of a checkpoint.

    With warm restarts that is the loss at the cycle's end, where the learning rate is least and noise with it. Other
    schedules have no such moment: for them it is the mean of all validations in the cycle.
    """

    ended: tuple[float, ...] = ()
    under_way: tuple[float, ...] = ()  # of the cycle that is not over

    def with_loss(self, loss: float, *, ends: bool, restarting: bool) -> CycleLosses:
        """Return the losses with one more validation, which may be the last of its cycle."""
        in_cycle = (*self.under_way, loss)
        if not ends:
            return CycleLosses(self.ended, in_cycle)
        return CycleLosses((*self.ended, loss if restarting else sum(in_cycle) / len(in_cycle)))

    def without_improvement(self) -> int:
        """Return how many cycles have ended since the best one."""
        return len(self.ended) - 1 - self.ended.index(min(self.ended)) if self.ended else 0


def ends_cycle(schedule: Schedule, plan: Training, iteration: int) -> bool:
    """Tell whether a cycle that is judged is over after so many iterations.

    Of cycles shorter than `validate_every`, as a short run has them, only every second, third, … is judged, so that
    judging needs no more validations than the recipe has.
    """
    start = first_of_cycles(schedule, plan.iterations)
    period = (plan.iterations - start) / schedule.cycles
    if iteration <= start or period <= 0:
        return False
    stride = period * math.ceil(plan.validate_every / period)
    exact = 1e-9  # a cycle of 5,000.0 iterations ends with the 5,000th, however its length was rounded
    return math.floor((iteration - start) / stride + exact) > math.floor((iteration - 1 - start) / stride + exact)


def judged(losses: CycleLosses, loss: float, schedule: Schedule, plan: Training, iteration: int) -> CycleLosses:
    """Return the losses with the validation after an iteration."""
    return losses.with_loss(loss, ends=ends_cycle(schedule, plan, iteration), restarting=restarts(schedule))

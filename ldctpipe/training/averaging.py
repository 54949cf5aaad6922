"""An exponential moving average of a network's weights, which denoises in the network's place."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ldctpipe.recipes.schema import Averaged


class WeightAverage:
    """Follows a bare network: every `average_every` iterations it takes 1 − decay of the weights over.

    It begins after the share `average_from` of the run, with the weights of that moment: those that a network starts
    with never enter. Before, the network itself denoises; with an `average_decay` of 0 it always does. After n
    averagings the decay is min(`average_decay`, (1 + n) / (10 + n)), so that a short run is averaged over its last
    part and not held at its beginning.
    """

    def __init__(self, network: nn.Module, options: Averaged, iterations: int) -> None:
        self._live, self._options = network, options
        self._first = options.average_from * iterations
        self._averagings = 0
        self._average = copy.deepcopy(network).requires_grad_(False) if options.average_decay else None

    @property
    def network(self) -> nn.Module:
        """The average once it has begun, the network itself before."""
        return self._average if self._average is not None and self._averagings else self._live

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Take weights over where it is time to, after the iteration of this 0-based number."""
        finished = iteration + 1
        if self._average is None or finished <= self._first or finished % self._options.average_every:
            return
        share = 1 - self._decay()
        now = self._live.state_dict()
        for name, kept in self._average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(now[name], share)
            else:
                kept.copy_(now[name])
        self._averagings += 1

    def _decay(self) -> float:
        """Return what the next averaging keeps of the average; nothing where there is none yet."""
        done = self._averagings
        return min(self._options.average_decay, (1 + done) / (10 + done)) if done else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the average and how many averagings it took."""
        weights = {} if self._average is None else {"average": self._average.state_dict()}
        return {"averagings": self._averagings, **weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._averagings = state["averagings"]
        if self._average is not None:
            self._average.load_state_dict(state["average"])

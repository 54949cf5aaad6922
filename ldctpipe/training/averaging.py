"""An exponential moving average of a network's weights, which denoises in the network's place."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ldctpipe.recipes.schema import ColdDiffusion, DualDomain


class WeightAverage:
    """Follows a bare network: every `average_every` iterations it takes 1 − `average_decay` of the weights over.

    Until the share `average_from` of the run it is the network as it is. With a decay of 0 it is that for ever.
    """

    def __init__(self, network: nn.Module, options: ColdDiffusion | DualDomain, iterations: int) -> None:
        self._live, self._options = network, options
        self._first = options.average_from * iterations
        self._iteration = 0  # finished iterations
        self._average = copy.deepcopy(network).requires_grad_(False) if options.average_decay else None

    @property
    def network(self) -> nn.Module:
        """The average once it has begun, the network itself before."""
        return self._live if self._average is None or self._iteration < self._first else self._average

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Take weights over where it is time to, after the iteration of this 0-based number."""
        self._iteration = iteration + 1
        begun = self._iteration > self._first
        if self._average is None or (begun and self._iteration % self._options.average_every):
            return
        share = 1 - self._options.average_decay if begun else 1.0
        now = self._live.state_dict()
        for name, kept in self._average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(now[name], share)
            else:
                kept.copy_(now[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the average and how many iterations it took."""
        weights = {} if self._average is None else {"average": self._average.state_dict()}
        return {"iteration": self._iteration, **weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._iteration = state["iteration"]
        if self._average is not None:
            self._average.load_state_dict(state["average"])

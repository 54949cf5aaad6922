"""All randomness of one rank's training: from the recipe's seed at first, and from a checkpoint later."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric

from ldctpipe.data.sampling import PatchSampler
from ldctpipe.data.seeds import seed_for
from ldctpipe.training.algorithm import Algorithm


class Randomness:
    """The streams of a rank: its sampler's, its algorithm's, and those of layers that drop at random."""

    def __init__(self, seed: int, fabric: Fabric, sampler: PatchSampler, algorithm: Algorithm) -> None:
        self._seed, self._rank, self._device = seed, fabric.global_rank, fabric.device
        self._sampler, self._algorithm = sampler, algorithm

    def begin(self, attempt: int = 0) -> None:
        """Start all streams; each `attempt` draws others, so that what made a training diverge does not come back."""
        states = {name: self._state("sampler", name, attempt) for name in self._sampler.state_dict()}
        self._sampler.load_state_dict(states)
        for name, generator in self._algorithm.generators.items():
            generator.set_state(self._state("algorithm", name, attempt))
        torch.manual_seed(seed_for(self._seed, "layers", self._rank, attempt))

    def state_dict(self) -> dict[str, Any]:
        """Return what the next draw depends on."""
        return {
            "sampler": self._sampler.state_dict(),
            "algorithm": {name: generator.get_state() for name, generator in self._algorithm.generators.items()},
            "layers": torch.get_rng_state(),
            "layers_on_cuda": torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._sampler.load_state_dict(state["sampler"])
        for name, generator in self._algorithm.generators.items():
            generator.set_state(state["algorithm"][name])
        torch.set_rng_state(state["layers"])
        if state["layers_on_cuda"] is not None:
            torch.cuda.set_rng_state(state["layers_on_cuda"], self._device)

    def _state(self, *purpose: str | int) -> torch.Tensor:
        return torch.Generator().manual_seed(seed_for(self._seed, *purpose, self._rank)).get_state()

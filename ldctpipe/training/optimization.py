"""The networks that an algorithm trains, each with its optimizer, on Fabric's device and ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ldctpipe.recipes.schema import Optimizer
from ldctpipe.training.parameter_groups import parameter_groups


@dataclass
class Trained:
    """One network as Fabric set it up, its optimizer and the full learning rates of that one's groups."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    rates: list[float]

    @property
    def bare(self) -> nn.Module:
        """The network without Fabric's wrapper."""
        return self.network.module  # type: ignore[return-value]


class Optimization:
    """Networks by name, stepped one by one, saved and restored together."""

    def __init__(self, fabric: Fabric, options: Optimizer) -> None:
        self._fabric, self._options = fabric, options
        self._trained: dict[str, Trained] = {}

    def add(self, name: str, network: nn.Module, rate: float) -> Trained:
        """Set a bare network up for training with its own optimizer and return it."""
        bare = _optimizer(network, self._options, rate, self._fabric.device)
        rates = [group["lr"] for group in bare.param_groups]
        wrapped, optimizer = self._fabric.setup(network, bare)
        self._trained[name] = Trained(wrapped, optimizer, rates)  # type: ignore[arg-type]
        return self._trained[name]

    def step(self, loss: Tensor, *names: str) -> None:
        """Change the networks of these names along the gradient of `loss`, shortened where the recipe limits it."""
        stepped = [self._trained[name] for name in names]
        for each in stepped:
            each.optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(loss)
        for each in stepped:
            if self._options.largest_gradient:
                self._fabric.clip_gradients(each.network, each.optimizer, max_norm=self._options.largest_gradient)
            with _limited_update(each.network, self._options.largest_update):
                each.optimizer.step()

    def gradient_norm(self, name: str) -> Tensor:
        """Return the norm of the gradient that the last step of a network took."""
        parameters = self._trained[name].network.parameters()
        return torch.nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])

    def set_rates(self, fraction: float) -> None:
        """Give every optimizer this share of its full learning rate."""
        for trained in self._trained.values():
            for group, rate in zip(trained.optimizer.param_groups, trained.rates, strict=True):
                group["lr"] = rate * fraction

    def learning_rates(self) -> dict[str, float]:
        """Return the rates that the last step took."""
        return {name: trained.optimizer.param_groups[0]["lr"] for name, trained in self._trained.items()}

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks by name, bare."""
        return {name: trained.bare for name, trained in self._trained.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return weights, moments and the scale of float16."""
        states: dict[str, Any] = {"precision": self._fabric.strategy.precision.state_dict()}
        for name, trained in self._trained.items():
            states[name] = trained.network.state_dict()
            states[f"{name}_optimizer"] = trained.optimizer.state_dict()
        return states

    def load_state_dict(self, states: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for name, trained in self._trained.items():
            trained.network.load_state_dict(states[name])
            trained.optimizer.load_state_dict(states[f"{name}_optimizer"])
        self._fabric.strategy.precision.load_state_dict(states["precision"])


@contextmanager
def _limited_update(network: nn.Module, most: float) -> Iterator[None]:
    """Cut what happens to each weight inside to at most `most`, unless that is 0."""
    before = [parameter.detach().clone() for parameter in network.parameters()] if most else []
    yield
    with torch.no_grad():
        for parameter, old in zip(network.parameters(), before, strict=bool(most)):
            parameter.copy_(old + (parameter - old).clamp(-most, most))


def _optimizer(network: nn.Module, options: Optimizer, rate: float, device: torch.device) -> torch.optim.Optimizer:
    fused = device.type in ("cpu", "cuda")  # one kernel instead of one a parameter
    groups = [
        {"params": group.parameters, "lr": rate * group.rate_factor, "weight_decay": group.weight_decay}
        for group in parameter_groups(network, options)
    ]
    if options.name == "sgd":
        return torch.optim.SGD(groups, momentum=options.betas[0], fused=fused)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[options.name]
    return kind(groups, betas=options.betas, fused=fused)

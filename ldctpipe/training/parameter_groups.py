"""Parameters of a network by kind, where a recipe gives kinds a rate or a decay of their own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ldctpipe.recipes.schema import Optimizer


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are updated alike; `rate_factor` is a multiple of the network's rate."""

    parameters: list[nn.Parameter]
    rate_factor: float
    weight_decay: float


def parameter_groups(network: nn.Module, options: Optimizer) -> list[ParameterGroup]:
    """Return all parameters in one group, or by kind where the recipe tells kinds apart; filters come first then."""
    factors, decay = options.rate_factors, options.weight_decay
    rest_decay = decay if options.decayed == "all" else 0.0
    if rest_decay == decay and factors.biases == factors.gains == 1.0:
        return [ParameterGroup(list(network.parameters()), 1.0, decay)]
    kinds: dict[str, list[nn.Parameter]] = {"filters": [], "biases": [], "gains": [], "others": []}
    for layer in network.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            kinds[_kind(layer, name, parameter)].append(parameter)
    groups = (
        ParameterGroup(kinds["filters"], 1.0, decay),
        ParameterGroup(kinds["biases"], factors.biases, rest_decay),
        ParameterGroup(kinds["gains"], factors.gains, rest_decay),
        ParameterGroup(kinds["others"], 1.0, rest_decay),
    )
    return [group for group in groups if group.parameters]


def _kind(layer: nn.Module, name: str, parameter: nn.Parameter) -> str:
    if parameter.ndim > 1:
        return "filters"
    weight = getattr(layer, "weight", None)
    if weight is None or name not in ("weight", "bias"):
        return "others"
    if name == "weight":
        return "gains"
    return "biases" if weight.ndim > 1 else "others"  # the shift of a normalisation is none

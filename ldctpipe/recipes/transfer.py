"""Which recipe's network can start from the trained one of another recipe."""

from __future__ import annotations

from ldctpipe.recipes.networks import network_class
from ldctpipe.recipes.schema import Network, Recipe


def misfit(before: Recipe, after: Recipe) -> str | None:
    """Return what keeps a training by `after` from starting with weights of `before`; None where nothing does.

    That is another network or another HU range: the weights would mean something else.
    """
    if not (has_same_network(before, after) or grows(before.generator, after.generator)):
        return "another network"
    return None if before.data.normalization == after.data.normalization else "another HU range"


def has_same_network(before: Recipe, after: Recipe) -> bool:
    """Tell whether weights of one recipe's network are the other's as they stand."""
    return before.generator == after.generator and before.data.context == after.data.context


def grows(before: Network, after: Network) -> bool:
    """Tell whether the second network can start from the first's weights: it says so, and their options agree."""
    known = grows_from(after) == before.network
    return known and all(after.options.get(name, value) == value for name, value in before.options.items())


def grows_from(network: Network) -> str | None:
    """Return the network that this one is made to start from, such as a 2-D one for a 3-D one."""
    return getattr(network_class(network), "grows_from", None)

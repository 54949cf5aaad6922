"""Training that starts from a bundle: whose weights, and what they were trained on before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ldctpipe.errors import InputError
from ldctpipe.recipes.bundle import Bundle
from ldctpipe.recipes.schema import Recipe
from ldctpipe.recipes.transfer import has_same_network, misfit

_TOLD = ("name", "title", "recipe_sha256", "weights", "pretrained", "training", "data", "notes")


@dataclass(frozen=True)
class Ancestor:
    """The bundle that a training starts from, checked against the recipe that goes on."""

    bundle: Bundle
    grows: bool = False  # into a network of another class, which knows how

    @property
    def told(self) -> list[dict[str, Any]]:
        """What the new bundle's card says of it and of those before it, the nearest first."""
        card = self.bundle.card
        return [{name: card[name] for name in _TOLD if name in card}, *card.get("lineage", [])]

    def load_into(self, network: nn.Module) -> None:
        """Copy the bundle's weights into a network of the recipe that goes on."""
        try:
            weights = self.bundle.tensors()
            network.load_state_dict(network.grown(weights) if self.grows else weights)  # type: ignore[operator]
        except (RuntimeError, KeyError):
            raise InputError(
                self.bundle.weights, "does not fit the network of its recipe", "take an unaltered copy of the bundle"
            ) from None


def ancestor(bundle: Bundle, recipe: Recipe) -> Ancestor:
    """Return `bundle` as the start of a training by `recipe`.

    Raises `InputError` where the recipes differ in the network or in the HU range that it sees: its weights would mean
    something else. A network may grow out of another one, such as a 3-D network out of a 2-D one.
    """
    if what := misfit(bundle.recipe, recipe):
        remedy = f"take the recipe {bundle.name}, or set generator and data as {bundle.folder} has them"
        raise InputError(bundle.folder, f"was trained with {what} than recipe {recipe.name} has", remedy)
    return Ancestor(bundle, grows=not has_same_network(bundle.recipe, recipe))

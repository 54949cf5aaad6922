"""What the list of recipes shows of each: counted once and kept in `listing.json`, so that it builds no network."""

from __future__ import annotations

import json
from typing import Any

from ldctpipe.recipes.shipped import FOLDER, shipped_names, text_digest

_FLAGSHIP = "wgan-gp-effnetv2"
_TABLE = FOLDER / "listing.json"
_IDENTITY = ("name", "title", "status", "source", "remark", "caution")


def listed_recipes() -> list[dict[str, Any]]:
    """Return what is shown of every shipped recipe, the flagship first.

    It comes from `listing.json`; a recipe whose YAML changed since `make listing` wrote that is built and counted.
    """
    kept = _kept()
    names = sorted(shipped_names(), key=lambda name: (name != _FLAGSHIP, name))
    return [_listed(name, kept.get(name)) for name in names]


def described(name: str) -> dict[str, Any]:
    """Return what the list shows of one recipe, from its text and its networks, such as trainable parameters."""
    from ldctpipe.recipes.library import load_recipe
    from ldctpipe.recipes.needs import needs_of
    from ldctpipe.recipes.networks import parameter_counts

    recipe = load_recipe(name)
    counts = parameter_counts(recipe)
    return {
        **recipe.model_dump(include=set(_IDENTITY)),
        "network": recipe.generator.network,
        "algorithm": recipe.algorithm.name,
        "parameters": counts["generator"],
        "critic_parameters": counts.get("critic"),
        "slices": 2 * recipe.data.context + 1,
        "iterations": recipe.training.iterations,
        "needs": list(needs_of(recipe).marks),
    }


def write_listing() -> None:
    """Write `listing.json` anew from all recipes; `make listing` calls it."""
    from ldctpipe.files import write_json

    write_json(_TABLE, {name: {"text": text_digest(name), "listed": described(name)} for name in shipped_names()})


def _kept() -> dict[str, Any]:
    return dict(json.loads(_TABLE.read_text(encoding="utf-8"))) if _TABLE.is_file() else {}


def _listed(name: str, kept: dict[str, Any] | None) -> dict[str, Any]:
    if kept is None or kept["text"] != text_digest(name):
        return described(name)
    return dict(kept["listed"])

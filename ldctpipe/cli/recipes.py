"""`ldctpipe recipes`: what can be trained."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from ldctpipe.cli.streams import json_text

_COLUMNS = "{name:30} {status:14} {parameters:>10} {slices:>6}  {needs:21}  {source}"


def command(
    name: Annotated[str | None, typer.Argument(help="Print this recipe whole, with all keys.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of it; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the recipes, or check one of them with overrides and print it complete as YAML.

    The list has the trainable parameters of the denoising network and the slices that it sees. "published" has layers
    and training of its source; a "reconstruction" fills in what its source leaves open; a "variant" differs on purpose.
    NEEDS names what a training wants beside its store: networks with ImageNet weights, a package, a bundle to start
    from; "unpaired" learns from low and full dose of different patients. Of one recipe the same is said in
    comments above the YAML.
    """
    if name is not None:
        _print_one(name, overrides or [], as_json)
        return
    from ldctpipe.recipes.listing import listed_recipes

    recipes = listed_recipes()
    if as_json:
        print(json_text(recipes))
        return
    head = {name: name.upper() for name in ("status", "parameters", "slices", "needs", "source")}
    print(_COLUMNS.format(name="RECIPE", **head))
    for told in recipes:
        print(_COLUMNS.format(**told | _in_short(told)).rstrip())


def _print_one(name: str, overrides: list[str], as_json: bool) -> None:
    from ldctpipe.recipes.library import load_recipe, recipe_to_yaml
    from ldctpipe.recipes.needs import needs_of

    recipe = load_recipe(name, overrides)
    if as_json:
        print(recipe.model_dump_json(indent=2))
        return
    needs = (f"# Needs {sentence}." for sentence in needs_of(recipe).sentences)
    print(*needs, recipe_to_yaml(recipe).rstrip(), sep="\n")


def _in_short(told: dict[str, Any]) -> dict[str, str]:
    """Return what the list has no room for in full; --json has it."""
    return {
        "parameters": _short(told["parameters"]),
        "needs": ", ".join(told["needs"]),
        "source": re.split(r", doi |; ", told["source"])[0],
    }


def _short(count: int) -> str:
    """Return a count in three figures: 56.4 M, 62.0 k, or – where there are none."""
    if count == 0:
        return "–"
    unit, size = ("M", 1e6) if count >= 1e6 else ("k", 1e3)
    return f"{count / size:.3g} {unit}"

"""`ldctpipe recipes`: what can be trained."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def command(
    name: Annotated[str | None, typer.Argument(help="Print this recipe whole, with all keys.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of it; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the recipes, or check one of them with overrides and print it complete as YAML."""
    from ldctpipe.recipes.library import load_recipe, recipe_to_yaml, shipped_names

    if name is not None:
        recipe = load_recipe(name, overrides or ())
        print(recipe.model_dump_json(indent=2) if as_json else recipe_to_yaml(recipe).rstrip())
        return
    recipes = [load_recipe(each) for each in shipped_names()]
    if as_json:
        print(
            json.dumps(
                [recipe.model_dump(include={"name", "title", "source", "remark"}) for recipe in recipes], indent=2
            )
        )
        return
    for recipe in recipes:
        print(f"{recipe.name:28} {recipe.title}\n{'':28} {recipe.remark}\n{'':28} {recipe.source}")

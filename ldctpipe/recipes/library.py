"""Recipes by name: read from YAML, completed from their base, changed by overrides, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ldctpipe.errors import InputError, UsageError
from ldctpipe.foreign import read_yaml, yaml_of
from ldctpipe.recipes.schema import Recipe
from ldctpipe.recipes.shipped import FOLDER, shipped_names

__all__ = ["load_recipe", "recipe_from_file", "recipe_to_yaml", "shipped_names"]

_IDENTITY = ("name", "title", "source", "status", "remark", "caution")
_CHOICES = {"generator": "network", "critic": "network", "algorithm": "name"}  # another one takes no options over


def load_recipe(name_or_file: str, overrides: Iterable[str] = (), **values: Any) -> Recipe:
    """Return a shipped recipe by name, or the one in a YAML file, with overrides applied.

    An override is "section.key=value", the value in YAML; `values` are top-level sections or keys by name, applied
    last. Neither makes the choice of a filter's strength longer than the recipe has it. Raises `UsageError` for an
    unknown recipe or key, or a value of the wrong type.
    """
    recipe = _validated(_read(name_or_file), name_or_file)
    if not overrides and not values:
        return recipe
    content = recipe.model_dump(mode="json")
    for override in overrides:
        _apply(content, override)
    changed = _validated(_merge(content, values), name_or_file)
    return _no_longer_than(recipe, changed) if changed.algorithm.name == "strength_tuning" else changed


def _no_longer_than(recipe: Recipe, changed: Recipe) -> Recipe:
    """Return `changed` with at most the iterations of `recipe`: a budget for networks would only repeat the choice."""
    iterations = min(changed.training.iterations, recipe.training.iterations)
    return changed.model_copy(update={"training": changed.training.model_copy(update={"iterations": iterations})})


def recipe_from_file(path: Path) -> Recipe:
    """Return the complete recipe in `path`, as a bundle holds it; raises `InputError` where it is not one."""
    try:
        return Recipe.model_validate(read_yaml(path))
    except FileNotFoundError:
        raise InputError(
            path, "is missing, so this is no denoiser bundle", "give a folder that `ldctpipe train` wrote"
        ) from None
    except ValueError as error:  # of YAML, UTF-8 and pydantic
        raise InputError(path, f"is not a complete recipe ({_first_fault(error)})", "train the bundle again") from None


def recipe_to_yaml(recipe: Recipe) -> str:
    """Return the complete recipe as YAML that `recipe_from_file` reads."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(name_or_file: str, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name_or_file}.yaml"
    if not path.is_file():
        known = ", ".join(shipped_names())
        raise UsageError(None, f"there is no recipe {name_or_file!r}", f"take one of {known}, or give a .yaml file")
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise UsageError(path, f"is not YAML ({_first_fault(error)})", "correct the file") from None
    if not isinstance(content, dict):
        raise UsageError(path, "holds no sections", "start from a shipped recipe: `ldctpipe recipes`")
    base = content.pop("base", None)
    if base is not None and not isinstance(base, str):
        raise UsageError(path, "base: should be the name of a recipe", "name one, or leave it out")
    if path in above:
        raise UsageError(path, "base: names a recipe that is based on this one", "name another one, or leave it out")
    return _merge(_read(base, (*above, path)), content) if base else content


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        before: Any = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        merged[key] = _merge(before, value) if both and not _is_another(key, before, value) else value
    return merged


def _is_another(section: str, below: Any, above: Any) -> bool:
    choice = _CHOICES.get(section)
    return choice in below and choice in above and below[choice] != above[choice]


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise UsageError(None, f"--set {override!r} has no '='", "write --set SECTION.KEY=VALUE")
    *sections, last = key.strip().split(".")
    if not sections and last in _IDENTITY:
        raise UsageError(
            None, f"--set {last}: says what a recipe is", "copy the recipe to a .yaml file and change it there"
        )
    place: Any = content
    for section in sections:
        place = place.get(section) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        raise UsageError(
            None, f"--set {key.strip()}: the recipe has no such key", "`ldctpipe recipes NAME` prints all keys"
        )
    try:
        place[last] = yaml_of(text)
    except ValueError:
        raise UsageError(None, f"--set {override!r}: the value is not YAML", "quote it") from None


def _validated(content: dict[str, Any], name: str) -> Recipe:
    from ldctpipe.recipes.networks import completed  # torch: not needed to read what was checked before

    try:
        return completed(Recipe.model_validate(content))
    except ValidationError as error:
        fault = _first_fault(error)
        raise UsageError(None, f"recipe {name}: {fault}", "`ldctpipe recipes NAME` prints valid values") from None


def _first_fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the recipe"
        return f"{place}: {first['msg']}"
    return " ".join(str(error).split())

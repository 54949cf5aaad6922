"""The denoiser bundle: a folder with `model.safetensors`, `recipe.yaml` and `card.json`; nothing in it is executed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldctpipe.errors import InputError
from ldctpipe.files import read_json, require_exists, sha256_of_file, sha256_of_text, write_json, write_text
from ldctpipe.recipes.library import recipe_from_file, recipe_to_yaml
from ldctpipe.recipes.schema import Recipe

FORMAT = "ldctpipe-bundle@1"
WEIGHTS, RECIPE, CARD = "model.safetensors", "recipe.yaml", "card.json"
INTENDED_USE = "Research on CT denoising. Not a medical device: not for diagnosis or treatment."


@dataclass(frozen=True)
class Bundle:
    """A bundle whose card, recipe and weights have been checked against each other."""

    folder: Path
    recipe: Recipe
    card: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the recipe that made it."""
        return self.recipe.name

    @property
    def weights(self) -> Path:
        """The file of the generator's weights."""
        return self.folder / WEIGHTS

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights' file."""
        return str(self.card["weights"]["sha256"])


def write_bundle(folder: Path, recipe: Recipe, card: dict[str, Any]) -> None:
    """Write recipe and card beside the weights that lie in `folder` already; the card gets both checksums."""
    text = recipe_to_yaml(recipe)
    write_text(folder / RECIPE, text)
    head = {"format": FORMAT, "name": recipe.name, "title": recipe.title, "intended_use": INTENDED_USE}
    weights = {"file": WEIGHTS, "sha256": sha256_of_file(folder / WEIGHTS), **card.pop("weights", {})}
    write_json(folder / CARD, {**head, "weights": weights, "recipe_sha256": sha256_of_text(text), **card})


def read_bundle(folder: Path) -> Bundle:
    """Return the bundle in `folder`.

    Raises `InputError` when the card is missing or of another format, or when weights or recipe are not those that
    the card names.
    """
    require_exists(folder)
    card = read_json(folder / CARD, "a denoiser bundle's card")
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise InputError(
            folder / CARD, f"is not a card of format {FORMAT}", "give a folder that `ldctpipe train` wrote"
        )
    recipe = recipe_from_file(folder / RECIPE)
    _compare(folder / RECIPE, sha256_of_file(folder / RECIPE), card.get("recipe_sha256"))
    require_exists(folder / WEIGHTS)
    _compare(folder / WEIGHTS, sha256_of_file(folder / WEIGHTS), card.get("weights", {}).get("sha256"))
    return Bundle(folder, recipe, card)


def _compare(path: Path, found: str, expected: str | None) -> None:
    if found != expected:
        raise InputError(
            path,
            f"has SHA-256 {found[:12]}… where the card says {str(expected)[:12]}…, so it was altered after training",
            "take an unaltered copy of the bundle",
        )

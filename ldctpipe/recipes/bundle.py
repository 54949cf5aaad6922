"""The denoiser bundle: a folder with `model.safetensors`, `recipe.yaml` and `card.json`; nothing in it is executed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldctpipe.errors import InputError, UsageError
from ldctpipe.files import require_exists, sha256_of_file, sha256_of_text, write_json, write_text
from ldctpipe.foreign import LARGEST_RECIPE_BYTES, require_file
from ldctpipe.recipes.card import CARD_FORMAT, read_card
from ldctpipe.recipes.library import recipe_from_file, recipe_to_yaml
from ldctpipe.recipes.schema import Recipe

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = CARD_FORMAT
WEIGHTS, RECIPE, CARD = "model.safetensors", "recipe.yaml", "card.json"
_UNALTERED = "take an unaltered copy of the bundle, or train it again"
_LARGEST_WEIGHTS_BYTES = 16 << 30  # twice the largest network that is built
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

    def tensors(self) -> dict[str, Tensor]:
        """Return the generator's weights by name.

        Their names and shapes are compared with the recipe's network before memory is taken for either. Raises
        `InputError` if they differ, if recipe or weights are invalid, or if a weight is NaN or infinite.
        """
        from ldctpipe.models.tensor_files import read_safetensors, require_numbers, shapes_of
        from ldctpipe.recipes.networks import sketch_generator

        try:
            wanted = sketch_generator(self.recipe).state_dict()
        except UsageError as error:
            raise InputError(self.folder / RECIPE, error.fault, _UNALTERED) from None
        if shapes_of(self.weights, _UNALTERED) != {name: tuple(each.shape) for name, each in wanted.items()}:
            raise InputError(self.weights, "does not fit the network of its recipe", _UNALTERED)
        tensors = read_safetensors(self.weights, _UNALTERED)
        for name, tensor in tensors.items():
            if tensor.dtype != wanted[name].dtype and not tensor.is_floating_point() & wanted[name].is_floating_point():
                raise InputError(self.weights, f"holds {name} in another data type", _UNALTERED)
        require_numbers(self.weights, tensors, _UNALTERED)
        return tensors


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
    card = read_card(folder / CARD)
    for name in (RECIPE, WEIGHTS):
        if not (folder / name).exists():
            raise InputError(folder / name, "is missing, so the denoiser bundle is incomplete", _UNALTERED)
    recipe = recipe_from_file(folder / RECIPE)
    _compare(require_file(folder / RECIPE, LARGEST_RECIPE_BYTES), card["recipe_sha256"])
    _compare(require_file(folder / WEIGHTS, _LARGEST_WEIGHTS_BYTES), card["weights"]["sha256"])
    return Bundle(folder, recipe, card)


def _compare(path: Path, expected: str) -> None:
    if (found := sha256_of_file(path)) != expected:
        fault = f"has SHA-256 {found[:12]}… where the card says {expected[:12]}…, so it was altered after training"
        raise InputError(path, fault, "take an unaltered copy of the bundle")

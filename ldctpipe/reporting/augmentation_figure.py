"""Figure 6 of the flagship paper from a training store: one patch pair under each transform of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

matplotlib.use("Agg")
from matplotlib.figure import Figure

from ldctpipe.data.augmentation import Transforms, apply_transforms, window_size
from ldctpipe.data.sampling import PatchSampler
from ldctpipe.data.seeds import seed_for
from ldctpipe.data.store import TrainingStore, open_store
from ldctpipe.recipes.schema import Recipe
from ldctpipe.reporting.colours import SOFT_WINDOW_HU
from ldctpipe.reporting.figure_file import require_figure_name, save_figure

_CANDIDATES = 64
_PANEL_INCHES = 1.75
_STYLE: Any = {"font.size": 9, "axes.titlesize": 9.5}

# What one column of the figure does to the patch, in the order of `Transforms`.
_Change = tuple[bool, bool, bool, bool, float]
_LAID: dict[str, _Change] = {
    "none": (False, False, False, False, 1.0),
    "mirrored": (False, False, True, False, 1.0),
    "upside down": (False, True, False, False, 1.0),
    "turned by 180°": (False, True, True, False, 1.0),
    "turned by 90°": (False, True, False, True, 1.0),
    "turned by −90°": (False, False, True, True, 1.0),
    "transposed": (False, False, False, True, 1.0),
    "turned and transposed": (False, True, True, True, 1.0),
}


def write_augmentation_figure(store: Path, out: Path, recipe: Recipe, seed: int) -> int:
    """Write a patch pair of the store under each transform of the recipe to `out`; return the number of columns.

    `out` is a .png or .svg file. Raises `InputError` where `store` is no training store and `UsageError` for another
    kind of file.
    """
    require_figure_name(out)
    pair = _window_pair(open_store(store), recipe, seed)
    changes = _changes(recipe)
    patches = _transformed(pair, list(changes.values()), recipe)
    with matplotlib.rc_context(_STYLE):
        save_figure(_figure(patches, list(changes), recipe), out)
    return len(changes)


def _changes(recipe: Recipe) -> dict[str, _Change]:
    """Return every transform that the recipe can draw, by its title."""
    augmentation = recipe.data.augmentation
    by_choice: dict[str, dict[str, _Change]] = {
        "none": _laid("none"),
        "rotation": {f"rotation by {augmentation.rotation_deg:g}°": (True, False, False, False, 1.0)},
        "flip": {"flip, upside down": _LAID["upside down"], "flip, mirrored": _LAID["mirrored"]},
        "mirror": _laid("none", "mirrored"),
        "flips": _laid("none", "mirrored", "upside down", "turned by 180°"),
        "turns": _LAID,
        "intensity": {f"intensity × {f:g}": (False, False, False, False, f) for f in augmentation.intensity_factors},
    }
    return {
        title: one for name, some in by_choice.items() if name in augmentation.choices for title, one in some.items()
    }


def _laid(*titles: str) -> dict[str, _Change]:
    return {title: _LAID[title] for title in titles}


def _window_pair(store: TrainingStore, recipe: Recipe, seed: int) -> Tensor:
    """Return low and full dose of one window, (1, 2, side, side) in [0, 1]: the most structured of some drawn ones."""
    data = recipe.data
    sampler = PatchSampler(
        store,
        torch.device("cpu"),
        images_per_batch=_CANDIDATES,
        patches_per_image=1,
        patch_size=window_size(data.patch_size, data.augmentation.rotation_deg),  # the corners of rotated patches
        normalization=data.normalization.as_map(),
        augmentation_choices=("none",),
        rotation_deg=0.0,
        intensity_factors=data.augmentation.intensity_factors,
        position_seed=seed_for(seed, "patches"),
        augmentation_seed=seed_for(seed, "augmentation"),
        dose_seed=seed_for(seed, "doses"),
    )
    low_dose, full_dose = sampler.batch()
    lower, upper = (float(data.normalization.as_map().normalize(torch.tensor(hu))) for hu in SOFT_WINDOW_HU)
    chosen = full_dose.clamp(lower, upper).flatten(1).std(dim=1).argmax()
    return torch.cat((low_dose[chosen], full_dose[chosen]))[None]


def _transformed(pair: Tensor, changes: list[_Change], recipe: Recipe) -> Tensor:
    """Return (changes, 2, patch_size, patch_size): the pair under each change, by the code that training runs."""
    rotate, flip_rows, flip_columns, transpose, factor = map(torch.tensor, zip(*changes, strict=True))
    transforms = Transforms(rotate, flip_rows, flip_columns, transpose, factor)
    windows = pair.expand(len(changes), -1, -1, -1).contiguous()
    air = recipe.data.normalization.as_map().air
    return apply_transforms(windows, transforms, recipe.data.patch_size, recipe.data.augmentation.rotation_deg, air)


def _figure(patches: Tensor, titles: list[str], recipe: Recipe) -> Figure:
    columns = len(titles)
    size = (columns * _PANEL_INCHES + 1.1, 2 * _PANEL_INCHES + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False)
    for row, dose in enumerate(("low dose", "full dose")):
        axes[row, 0].set_ylabel(dose)
        for column, title in enumerate(titles):
            place = axes[row, column]
            shown = place.imshow(patches[column, row].numpy(), cmap="gray", vmin=0, vmax=1, interpolation="none")
            place.set(xticks=[], yticks=[])
            if row == 0:
                place.set_title(title)
    figure.colorbar(shown, ax=axes, label="network value", shrink=0.7, aspect=30)
    figure.suptitle(_heading(recipe), x=0.01, ha="left", fontsize=10.5)
    return figure


def _heading(recipe: Recipe) -> str:
    side, range_hu = recipe.data.patch_size, recipe.data.normalization
    units = f"0 to 1 is {range_hu.lower_hu:g} to {range_hu.upper_hu:g} HU".replace("-", "−")
    return f"One {side}×{side} patch pair under each transform of {recipe.name} ({units})"

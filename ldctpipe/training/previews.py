"""Pictures of a fixed slice while a training runs: low dose, denoised so far, full dose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ldctpipe.models.explanation import (
    UnexplainableNetworkError,
    attention_layers,
    attention_maps,
    fused,
    grad_cam,
    normalised,
)
from ldctpipe.progress import warn
from ldctpipe.recipes.schema import Recipe
from ldctpipe.reporting.preview import Titled, preview_picture, write_preview
from ldctpipe.training.scalars import ScalarLog
from ldctpipe.training.validation import Validation


class Previews:
    """Writes `folder/iteration-NNNNNNN.png`, and to TensorBoard, about `count` times over a run; 0 for none.

    The slice is the middle one of those that validate. With `explain`, Grad-CAM and attention maps, where the network
    has attention, stand below it; a filter that has neither gets none, with a warning.
    """

    def __init__(
        self, folder: Path, validation: Validation, recipe: Recipe, log: ScalarLog, *, count: int, explain: bool
    ) -> None:
        self._folder, self._validation, self._log, self._explain = folder, validation, log, explain
        self._every = recipe.training.iterations / count if count else np.inf
        self._last = recipe.training.iterations
        self._pictures = 0  # that were due before now
        self._slice = len(validation) // 2

    def show(self, iteration: int, network: nn.Module, device: torch.device) -> None:
        """Write the picture of this moment where it is time for one, or where the run ends."""
        due = int(iteration / self._every)
        if due <= self._pictures and not (iteration == self._last and np.isfinite(self._every)):
            return
        self._pictures = due
        low, full = self._validation.slice_hu(self._slice)
        now = self._validation.denoised(network, self._slice, device)
        panels: list[Titled] = [("low dose", low), (f"iteration {iteration:,}", now), ("full dose", full)]
        maps = self._maps(network, device) if self._explain else []
        write_preview(self._folder / f"iteration-{iteration:07d}.png", panels, maps=maps)
        self._log.add_picture(iteration, "preview", preview_picture(panels, maps=maps))

    def go_back(self, iteration: int) -> None:
        """Drop the pictures after `iteration`, from which the training goes on."""
        self._pictures = int(iteration / self._every)
        for path in self._folder.glob("iteration-*.png"):
            number = path.stem.removeprefix("iteration-")
            if number.isdecimal() and int(number) > iteration:
                path.unlink()

    def _maps(self, network: nn.Module, device: torch.device) -> list[Titled]:
        image, layers = self._validation.network_input(self._slice, device), attention_layers(network)
        try:
            cam = grad_cam(network, image, layers[min(layers)] if layers else None)
        except UnexplainableNetworkError as error:
            self._explain = False
            warn(f"previews are not explained: the network {error}")
            return []
        attention = list(attention_maps(network, image).values()) if layers else []
        shown = {}
        if attention:
            shown["spatial attention"] = fused([each.spatial for each in attention])
            shown["channel attention"] = fused([each.channel for each in attention])
        shown["Grad-CAM"] = normalised(cam)
        return [(title, _array(values)) for title, values in shown.items()]


def _array(values: Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(values[0].float().cpu().numpy(), dtype=np.float32)

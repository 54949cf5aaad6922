"""One slice through a denoiser's network, with its maps of attention and Grad-CAM on the grid of the slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe.errors import InputError
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.models.explanation import UnexplainableNetworkError, attention_layers, attention_maps, fused, grad_cam
from ldctpipe.reporting.pictures import body_mask
from ldctpipe.volumes.volume import Volume

ATTENTION_KINDS = ("spatial", "channel", "combined")
FUSED = "fused"

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Maps = dict[str, dict[str, Image]]  # by kind, then by stage


@dataclass(frozen=True)
class ExplainedSlice:
    """What the network makes of a slice; everything has the shape (rows, columns).

    `maps` has the kinds "spatial", "channel", "combined" and "grad_cam", each for the stages "3", "5" and "7", with the
    values of `models.explanation`. `shown` has them and "fused" in [0, 1], stretched over what was `measured`, and 0
    elsewhere. `region` is where Grad-CAM asks for the change: the body, or all that was measured where there is none.
    """

    hu: npt.NDArray[np.generic]
    denoised_hu: Image
    maps: Maps
    shown: Maps
    measured: Mask
    region: Mask
    region_name: str

    @property
    def mean_change_hu(self) -> float:
        """The number whose gradient Grad-CAM shows: the mean of |output − input| over the region, in HU."""
        return float(np.abs(self.denoised_hu - self.hu.astype(np.float32))[self.region].mean())

    def ranges(self, kind: str) -> dict[str, list[float]]:
        """Return the lowest and highest measured value of each stage's map of a kind."""
        inside = {stage: one[self.measured] for stage, one in self.maps[kind].items()}
        return {stage: [float(f"{end:.6g}") for end in (one.min(), one.max())] for stage, one in inside.items()}


def explained_slice(denoiser: Denoiser, one: Volume) -> ExplainedSlice:
    """Return the explanation of a volume of one slice.

    Raises `InputError` where nothing was measured in it, or the network has no attention to show.
    """
    measured = one.measured()[0]
    if not measured.any():
        raise InputError(None, "the slice holds no measurement, only the scanner's padding", "take another slice")
    body = body_mask(one.hu[0]) & measured
    region, region_name = (body, "body") if body.any() else (measured, "slice")
    try:
        maps = _maps(denoiser, one, region)
    except UnexplainableNetworkError as error:
        fault = f"its network {error}, so there is nothing to show"
        raise InputError(denoiser.bundle.folder, fault, "give a bundle of the flagship's network") from None
    denoised_hu = denoiser.denoise(one)[0].astype(np.float32)
    shown = {kind: _shown(stages, measured) for kind, stages in maps.items()}
    return ExplainedSlice(one.hu[0], denoised_hu, maps, shown, measured, region, region_name)


def _maps(denoiser: Denoiser, one: Volume, region: Mask) -> Maps:
    network, image = denoiser.network, denoiser.network_input(one, 0)
    where = torch.from_numpy(region).to(image.device)[None, None]
    attention = attention_maps(network, image)
    tensors = {kind: {str(stage): getattr(maps, kind) for stage, maps in attention.items()} for kind in ATTENTION_KINDS}
    layers = attention_layers(network)
    tensors["grad_cam"] = {str(stage): grad_cam(network, image, layer, where) for stage, layer in layers.items()}
    return {kind: {stage: one[0].cpu().numpy() for stage, one in stages.items()} for kind, stages in tensors.items()}


def _shown(stages: Mapping[str, Image], measured: Mask) -> dict[str, Image]:
    inside = {stage: torch.from_numpy(one[measured])[None, None] for stage, one in stages.items()}
    found = {stage: fused([one]) for stage, one in inside.items()} | {FUSED: fused(list(inside.values()))}
    shown = {stage: np.zeros(measured.shape, dtype=np.float32) for stage in found}
    for stage, values in found.items():
        shown[stage][measured] = values.numpy().ravel()
    return shown

"""One slice through a denoiser's network, with its maps of Grad-CAM and attention on the grid of the slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ldctpipe.errors import InputError
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.models.explanation import UnexplainableNetworkError, attention_layers, attention_maps, fused, grad_cam
from ldctpipe.reporting.pictures import body_mask
from ldctpipe.volumes.volume import Volume

ATTENTION_KINDS = ("spatial", "channel", "combined")
GRAD_CAM = "grad_cam"
FUSED = "fused"
LAST = "last"  # the stage of a network without attention: what enters its last convolution

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Maps = dict[str, dict[str, Image]]  # by kind, then by stage


@dataclass(frozen=True)
class ExplainedSlice:
    """What the network makes of a slice; everything has the shape (rows, columns).

    `maps` has the kinds "spatial", "channel", "combined" and "grad_cam", each for the stages of the network's attention
    (the flagship's "3", "5" and "7"), with the values of `models.explanation`; without attention "grad_cam" alone, for
    the stage "last". `shown` has them and "fused" in [0, 1], stretched over what was `measured`, and 0 elsewhere.
    `region` is where Grad-CAM asks for the change: the body, or all that was measured where there is none.
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

    @property
    def has_attention(self) -> bool:
        """Whether the network has attention that can be shown as a map."""
        return ATTENTION_KINDS[0] in self.maps

    @property
    def stages(self) -> list[str]:
        """The stages that each kind of map has, in the order of the network."""
        return list(self.maps[GRAD_CAM])

    def ranges(self, kind: str) -> dict[str, list[float]]:
        """Return the lowest and highest measured value of each stage's map of a kind."""
        inside = {stage: one[self.measured] for stage, one in self.maps[kind].items()}
        return {stage: [float(f"{end:.6g}") for end in (one.min(), one.max())] for stage, one in inside.items()}


def explained_slice(denoiser: Denoiser, volume: Volume, number: int = 0) -> ExplainedSlice:
    """Return the explanation of a slice of a volume, in which it has its neighbours; `number` counts from 0.

    Raises `InputError` where nothing was measured in it, or the network has no features that could be shown.
    """
    hu = volume.hu[number]
    measured = np.ones(hu.shape, dtype=bool) if volume.padding is None else ~volume.padding[number]
    if not measured.any():
        raise InputError(None, "the slice holds no measurement, only the scanner's padding", "take another slice")
    body = body_mask(hu) & measured
    region, region_name = (body, "body") if body.any() else (measured, "slice")
    try:
        maps = _maps(denoiser, denoiser.network_input(volume, number), region)
    except UnexplainableNetworkError as error:
        fault = f"its network {error}, so there is nothing to show"
        raise InputError(denoiser.bundle.folder, fault, "give a bundle of a trained network") from None
    denoised_hu = denoiser.denoise_slice(volume, number).astype(np.float32)
    shown = {kind: _shown(stages, measured) for kind, stages in maps.items()}
    return ExplainedSlice(hu, denoised_hu, maps, shown, measured, region, region_name)


def _maps(denoiser: Denoiser, image: Tensor, region: Mask) -> Maps:
    network, layers = denoiser.network, attention_layers(denoiser.network)
    where = torch.from_numpy(region).to(image.device)[None, None]
    tensors: dict[str, dict[str, Tensor]] = {}
    if layers:
        attention = attention_maps(network, image)
        for kind in ATTENTION_KINDS:
            tensors[kind] = {str(stage): getattr(maps, kind) for stage, maps in attention.items()}
    targets: dict[str, str | None] = {str(stage): layer for stage, layer in layers.items()} or {LAST: None}
    tensors[GRAD_CAM] = {stage: grad_cam(network, image, layer, where) for stage, layer in targets.items()}
    return {kind: {stage: one[0].cpu().numpy() for stage, one in stages.items()} for kind, stages in tensors.items()}


def _shown(stages: Mapping[str, Image], measured: Mask) -> dict[str, Image]:
    inside = {stage: torch.from_numpy(one[measured])[None, None] for stage, one in stages.items()}
    found = {stage: fused([one]) for stage, one in inside.items()} | {FUSED: fused(list(inside.values()))}
    shown = {stage: np.zeros(measured.shape, dtype=np.float32) for stage in found}
    for stage, values in found.items():
        shown[stage][measured] = values.numpy().ravel()
    return shown

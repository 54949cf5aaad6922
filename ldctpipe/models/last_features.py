"""The features that a network draws its image from: what enters the last convolution that runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.quadratic_autoencoder import QuadraticConvolution

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, QuadraticConvolution)
_TRIAL_SIDE = 64  # in pixels: in which order layers run does not depend on the size


@dataclass(frozen=True)
class LastConvolution:
    """The convolution that runs last, its name in `named_modules`, and how often it runs in a pass.

    `margin` says by how many pixels what enters it reaches beyond what it gives, on each side; below 0 it falls short.
    """

    name: str
    module: nn.Module
    calls: int
    margin: int

    def on_grid_of_output(self, maps: Tensor) -> Tensor:
        """Return maps (batch, 1, rows, columns) of what enters, cut or continued to the pixels of what comes out."""
        inwards = (-self.margin,) * 4
        return functional.pad(maps, inwards, mode="replicate") if self.margin < 0 else functional.pad(maps, inwards)


def last_convolution(network: nn.Module, image: Tensor) -> LastConvolution | None:
    """Return the last convolution to run on images (batch, slices, rows, columns), found on a piece of them.

    None for a network that has none. A quadratic convolution counts as one, not as the three that it consists of.
    """
    convolutions = _convolutions(network)
    ran: list[tuple[str, nn.Module, int]] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            ran.append((name, module, _margin(inputs[0].shape[-1], output.shape[-1])))

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in convolutions.items()]
    try:
        if convolutions:
            network(image[..., :_TRIAL_SIDE, :_TRIAL_SIDE])
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        return None
    name, module, margin = ran[-1]
    return LastConvolution(name, module, sum(each[1] is module for each in ran), margin)


def _convolutions(network: nn.Module) -> dict[str, nn.Module]:
    found = {name: module for name, module in network.named_modules() if isinstance(module, _CONVOLUTIONS)}
    return {name: module for name, module in found.items() if name.rpartition(".")[0] not in found}


def _margin(entering: int, leaving: int) -> int:
    is_of_another_scale = max(entering, leaving) >= 1.5 * min(entering, leaving)
    return 0 if is_of_another_scale else (entering - leaving) // 2

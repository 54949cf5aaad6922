"""A bundle's network applied to volumes: HU in, HU out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ldctpipe.errors import InputError
from ldctpipe.models.image_layers import see_in_float32
from ldctpipe.models.memory_format import to_channels_last
from ldctpipe.recipes.bundle import Bundle
from ldctpipe.recipes.networks import build_generator
from ldctpipe.recipes.slice_denoiser import Change, Piece, SliceDenoiser, written
from ldctpipe.volumes.neighbors import around, unbroken_stacks
from ldctpipe.volumes.padding import with_air
from ldctpipe.volumes.volume import HuArray, Volume


class Denoiser:
    """The network of a checked bundle, ready on a device."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.bundle = bundle
        self.device = device
        data = bundle.recipe.data
        network = to_channels_last(_load(bundle).to(device))
        if device.type == "cuda":  # the only one with TF32, which would round the image as it did not in training
            see_in_float32(network, 2 * data.context + 1)
        self._slices = SliceDenoiser(network, data.normalization.as_map(), data.context, device)

    def denoise(self, volume: Volume, blend: float = 1.0, on_slices: Callable[[int], None] = lambda _: None) -> HuArray:
        """Return HU in shape and dtype of the volume's: (1 − blend) · source + blend · network's output.

        What the network changes is added to the source, so that values beyond the recipe's HU range (metal, air below
        it) are corrected and not cut off. Padding stays as it is. A network that sees several slices sees none beyond
        a gap. `on_slices` hears of each finished batch. Raises `InputError` where the network gives values that are NaN
        or infinite.
        """
        if blend == 0:
            on_slices(len(volume.hu))
            return volume.hu
        out = np.empty_like(volume.hu)
        for piece in self._slices.pieces(unbroken_stacks(volume.positions_mm)):
            these = slice(piece.slices.start, piece.slices.stop)
            padding = None if volume.padding is None else volume.padding[these]
            out[these] = written(volume.hu[these], np.float32(blend) * self._change(volume, piece), padding)
            on_slices(len(piece.slices))
        return out

    def denoise_slice(self, volume: Volume, number: int) -> HuArray:
        """Return HU (rows, columns) of one slice of a volume as `denoise` makes it, without the work of the others."""
        piece = self._slices.piece_of(number, unbroken_stacks(volume.positions_mm))
        padding = None if volume.padding is None else volume.padding[number]
        return written(volume.hu[number], self._change(volume, piece)[number - piece.slices.start], padding)

    @property
    def network(self) -> nn.Module:
        """The network, in eval mode on the device: (batch, depth, rows, columns) in [0, 1] to the center slice."""
        return self._slices.network

    def network_input(self, volume: Volume, number: int) -> Tensor:
        """Return a slice of a volume with its neighbors as the network sees them, (1, depth, …), padding as air."""
        stack = next(stack for stack in unbroken_stacks(volume.positions_mm) if number in stack)
        numbers = around(range(number, number + 1), stack, self._slices.context)
        return self._slices.window(_with_air(volume, numbers))

    def _change(self, volume: Volume, piece: Piece) -> Change:
        """Return what the network adds to a piece; raises where that is NaN or infinite, which would become 0 HU."""
        change = self._slices.change(_with_air(volume, piece.around))
        if not np.isfinite(change).all():
            fault = "its network gives values that are no numbers"
            raise InputError(self.bundle.folder, fault, "train the bundle again, or take the best checkpoint before")
        return change


def _with_air(volume: Volume, numbers: npt.NDArray[np.int64]) -> HuArray:
    """Return slices as the network saw them in training: air where the scanner padded."""
    return with_air(volume.hu[numbers], None if volume.padding is None else volume.padding[numbers])


def _load(bundle: Bundle) -> nn.Module:
    tensors = bundle.tensors()
    network = build_generator(bundle.recipe)
    network.load_state_dict(tensors)
    return network.eval()

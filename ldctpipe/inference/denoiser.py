"""A bundle's network applied to volumes: HU in, HU out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ldctpipe.errors import InputError
from ldctpipe.models.image_layers import see_in_float32
from ldctpipe.models.memory_format import to_channels_last
from ldctpipe.recipes.bundle import Bundle
from ldctpipe.recipes.networks import build_generator
from ldctpipe.volumes.volume import HuArray, Volume

_SLAB = 4  # slices of a slab for each of context: more of them are little faster and take more memory
_SLICES_AT_ONCE = {"cpu": 1, "cuda": 8, "mps": 4}  # on a CPU more slices at once only take more memory


class Denoiser:
    """The network of a checked bundle, ready on a device."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.bundle = bundle
        self.device = device
        self._normalization = bundle.recipe.data.normalization.as_map()
        self._context = bundle.recipe.data.context
        self._network = to_channels_last(_load(bundle).to(device))
        if device.type == "cuda":  # the only one with TF32, which would round the image as it did not in training
            see_in_float32(self._network, 2 * self._context + 1)

    def denoise(self, volume: Volume, blend: float = 1.0, on_slices: Callable[[int], None] = lambda _: None) -> HuArray:
        """Return HU in shape and dtype of the volume's: (1 − blend) · source + blend · network's output.

        What the network changes is added to the source, so that values beyond the recipe's HU range (metal, air below
        −1000 HU) are corrected and not cut off. Padding stays as it is. `on_slices` hears of each finished batch.
        Raises `InputError` where the network gives values that are no numbers.
        """
        if blend == 0:
            on_slices(len(volume.hu))
            return volume.hu
        out = np.empty_like(volume.hu)
        step = max(_SLICES_AT_ONCE[self.device.type], _SLAB * self._context if self._takes_slabs else 1)
        for first in range(0, len(out), step):
            these = slice(first, min(first + step, len(out)))
            out[these] = self._denoised(volume, these, blend)
            on_slices(these.stop - first)
        return out

    def denoise_slice(self, volume: Volume, number: int) -> HuArray:
        """Return HU (rows, columns) of one slice of a volume as `denoise` makes it, without the work of the others."""
        return self._denoised(volume, slice(number, number + 1), 1.0)[0]

    @property
    def network(self) -> nn.Module:
        """The network, in eval mode on the device: (batch, depth, rows, columns) in [0, 1] to the centre slice."""
        return self._network

    def network_input(self, volume: Volume, number: int) -> Tensor:
        """Return a slice of a volume with its neighbours as the network sees them, (1, depth, …), padding as air."""
        around = self._around(slice(number, number + 1), len(volume.hu))
        return self._values(self._without_padding(volume, around)).unsqueeze(0)

    def _denoised(self, volume: Volume, these: slice, blend: float) -> HuArray:
        hu: Any = np.ascontiguousarray(volume.hu[these])  # int16 until it is on the device
        change = np.float32(blend) * self._correction(
            self._without_padding(volume, self._around(these, len(volume.hu)))
        )
        self._require_numbers(change)
        out = _as_dtype(hu + change, volume.hu.dtype)
        if volume.padding is not None:
            np.copyto(out, hu, where=volume.padding[these])
        return out

    def _require_numbers(self, change: npt.NDArray[np.float32]) -> None:
        """Raise where the network gave NaN or infinity, which would become 0 HU without a word."""
        if not np.isfinite(change).all():
            fault = "its network gives values that are no numbers"
            raise InputError(self.bundle.folder, fault, "train the bundle again, or take the best checkpoint before")

    @property
    def _takes_slabs(self) -> bool:
        """Whether the network denoises several neighbouring slices at once for little more than one."""
        return bool(getattr(self._network, "takes_slabs", False))

    def _around(self, these: slice, slices: int) -> npt.NDArray[np.int64]:
        """Return the numbers of slices and of their neighbours, the ends of the volume repeated as in training."""
        return np.arange(these.start - self._context, these.stop + self._context).clip(0, slices - 1)

    def _without_padding(self, volume: Volume, these: npt.NDArray[np.int64]) -> Any:
        """Return slices as the network saw them in training: air where the scanner padded."""
        hu = volume.hu[these]
        if volume.padding is None:
            return hu
        return np.where(volume.padding[these], hu.dtype.type(self._normalization.lower_hu), hu)

    @torch.inference_mode()
    def _correction(self, hu: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Return what the network adds to slices of HU, in HU; `hu` has `context` more of them on either side."""
        values, depth = self._values(hu), 2 * self._context + 1
        if self._takes_slabs:
            output = self._network(values.unsqueeze(0)).squeeze(0)
        else:
            windows = values.unfold(0, depth, 1).movedim(-1, 1)  # (slices, depth, rows, columns)
            output = self._network(windows.contiguous()).squeeze(1)
        middle = values[self._context : len(values) - self._context]
        return ((output.float() - middle) * self._normalization.range_hu).cpu().numpy()

    def _values(self, hu: npt.NDArray[np.generic]) -> Tensor:
        return self._normalization.normalize(torch.from_numpy(hu).to(self.device).float())


def _load(bundle: Bundle) -> nn.Module:
    tensors = bundle.tensors()
    network = build_generator(bundle.recipe)
    network.load_state_dict(tensors)
    return network.eval()


def _as_dtype(hu: npt.NDArray[np.float32], dtype: np.dtype[Any]) -> HuArray:
    if dtype != np.int16:
        return hu.astype(np.float32)
    limits = np.iinfo(np.int16)
    return np.rint(hu).clip(limits.min, limits.max).astype(np.int16)

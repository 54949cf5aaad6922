"""A recipe's network applied to slices, HU in and HU out: what validation scores and `ldctpipe denoise` writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ldctpipe.volumes.neighbors import around
from ldctpipe.volumes.normalization import HuNormalization
from ldctpipe.volumes.volume import HuArray

Change = npt.NDArray[np.float32]

_SLAB = 4  # slices of a slab for each of context: more of them are little faster and take more memory
_SLICES_AT_ONCE = {"cpu": 1, "cuda": 8, "mps": 4}  # on a CPU more slices at once only take more memory


@dataclass(frozen=True)
class Piece:
    """Consecutive slices of a volume that go through the network at once, `slices`.

    `around` are the numbers of the slices that it sees: `context` more on either side, where the ends of an unbroken
    stack repeat.
    """

    slices: range
    around: npt.NDArray[np.int64]


@dataclass(frozen=True)
class SliceDenoiser:
    """A network, in eval mode on the device, that sees `context` slices on each side of the one that it denoises.

    It maps (batch, 2 · context + 1, rows, columns) in [0, 1] to the center slice, (batch, 1, rows, columns). One that
    `takes_slabs` maps (1, depth, …) to (1, depth − 2 · context, …) too, for little more than one slice.
    """

    network: nn.Module
    normalization: HuNormalization
    context: int
    device: torch.device

    def pieces(self, stacks: Sequence[range]) -> Iterator[Piece]:
        """Yield the pieces in which the unbroken stacks of a volume are denoised, in order; none crosses a break."""
        if self.context == 0:
            stacks = [range(stacks[0].start, stacks[-1].stop)] if stacks else []
        for stack in stacks:
            for first in range(stack.start, stack.stop, self._most):
                yield self._piece(range(first, min(first + self._most, stack.stop)), stack)

    def piece_of(self, number: int, stacks: Sequence[range]) -> Piece:
        """Return a piece that holds slice `number`: its slab, of which it is a part, or else the slice alone.

        A slab of another length would give the same image up to rounding; this one gives the bits of the whole volume.
        """
        stack = next(stack for stack in stacks if number in stack)
        if not self._takes_slabs:
            return self._piece(range(number, number + 1), stack)
        first = number - (number - stack.start) % self._most
        return self._piece(range(first, min(first + self._most, stack.stop)), stack)

    def window(self, hu: npt.NDArray[Any]) -> Tensor:
        """Return 2 · context + 1 slices of HU as the network sees them: (1, depth, rows, columns) in [0, 1]."""
        return self._values(hu).unsqueeze(0)

    @torch.no_grad()
    def change(self, hu: npt.NDArray[Any]) -> Change:
        """Return what the network adds to the slices of a piece, in HU; `hu` are those around it, padding as air.

        What is added is the network's output less its input. So values beyond the HU range of the recipe (metal, air
        below it) are corrected and not cut off.
        """
        values, depth = self._values(hu), 2 * self.context + 1
        # Not the network's call, which may be compiled for patches.
        if self._takes_slabs:
            output = self.network.forward(values.unsqueeze(0)).squeeze(0)
        else:
            windows = values.unfold(0, depth, 1).movedim(-1, 1)  # (slices, depth, rows, columns)
            output = self.network.forward(windows.contiguous()).squeeze(1)
        middle = values[self.context : len(values) - self.context]
        return ((output.float() - middle) * self.normalization.range_hu).cpu().numpy()  # type: ignore[no-any-return]

    @property
    def _takes_slabs(self) -> bool:
        return bool(getattr(self.network, "takes_slabs", False))

    @property
    def _most(self) -> int:
        """How many slices a piece has at most."""
        return max(_SLICES_AT_ONCE[self.device.type], _SLAB * self.context if self._takes_slabs else 1)

    def _piece(self, slices: range, stack: range) -> Piece:
        return Piece(slices, around(slices, stack, self.context))

    def _values(self, hu: npt.NDArray[Any]) -> Tensor:
        on_device = torch.from_numpy(np.ascontiguousarray(hu)).to(self.device)  # as int16, which is half as much
        return self.normalization.normalize(on_device.float())  # type: ignore[no-any-return]


def written(hu: HuArray, change: Change, padding: npt.NDArray[np.bool_] | None = None) -> HuArray:
    """Return HU of slices with `change` added, in their own type: int16 is rounded to even and held to its limits.

    `padding` marks what stays as it is.
    """
    out = _as_dtype(hu + change, hu.dtype)
    if padding is not None:
        np.copyto(out, hu, where=padding)
    return out


def _as_dtype(hu: Change, dtype: np.dtype[Any]) -> HuArray:
    if dtype != np.int16:
        return hu.astype(np.float32)
    limits = np.iinfo(np.int16)
    return np.rint(hu).clip(limits.min, limits.max).astype(np.int16)

"""The int16 windows of each batch, brought to the device: from the store there, or from its memory map.

A store that fits is copied to the GPU once, and windows are cut there. One that doesn't stays mapped: windows are cut
on the CPU into pinned memory and copied on a stream of their own, while the GPU computes on batches before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ldctpipe.data.batch_plan import BatchPlan, BatchPlanner
from ldctpipe.data.store import TrainingStore
from ldctpipe.data.windows import Images, cut_on_cpu, cut_on_device

# Of the memory that is free when training starts. The other half is for what comes later: activations and gradients
# of a batch, the optimizers' moments, and what the allocator loses between them.
_DEVICE_MEMORY_SHARE = 0.5


@dataclass(frozen=True)
class PlannedWindows:
    """A plan with its windows on the device, to be used after `wait`.

    Both are int16 (batch · depth, images, side, side): `depth` neighbouring slices for each place of the plan.
    """

    plan: BatchPlan
    pairs: Tensor
    noise: Tensor | None
    copied: torch.cuda.Event | None = None

    def wait(self) -> None:
        """Make what the device computes next wait for the copies; the CPU does not wait."""
        if self.copied is None:
            return
        stream = torch.cuda.current_stream(self.pairs.device)
        stream.wait_event(self.copied)
        for tensor in (self.pairs, self.noise):
            if tensor is not None:
                tensor.record_stream(stream)  # its memory came from the copying stream and is read by this one


class WindowSupply:
    """Makes the windows of one plan after the other; `margin` pixels lie around each patch on every side."""

    def __init__(
        self, store: TrainingStore, planner: BatchPlanner, device: torch.device, patch_size: int, margin: int
    ) -> None:
        self._planner, self._device = planner, device
        self._side, self._margin = patch_size + 2 * margin, margin
        arrays = [_images(array) for array in (store.pairs, store.noise) if array is not None]
        self.is_streamed = device.type == "cuda" and not _fits(arrays, device)
        self._mapped = arrays if self.is_streamed or device.type != "cuda" else []
        self._placed = [] if self._mapped else [torch.from_numpy(array).to(device) for array in arrays]
        self._stream = torch.cuda.Stream(device) if self.is_streamed else None

    def next(self) -> PlannedWindows:
        """Return the next plan with its windows."""
        plan = self._planner.next()
        depth = plan.around.shape[1]
        slices = plan.around.flatten()
        corners, sizes = (each.repeat_interleave(depth, dim=0) for each in (plan.corners - self._margin, plan.sizes))
        copied = None
        if self._placed:
            cut = [cut_on_device(each, slices, corners, sizes, self._side) for each in self._placed]
        else:
            cut, copied = self._copy([self._cut(each, slices, corners, sizes) for each in self._mapped])
        return PlannedWindows(plan, cut[0], cut[1] if len(cut) > 1 else None, copied)

    def _cut(self, images: Images, slices: Tensor, corners: Tensor, sizes: Tensor) -> Tensor:
        shape = len(slices), images.shape[1], self._side, self._side
        # Pinned memory is torch's to reuse, which it does only after the copy from it has ended.
        windows = torch.empty(shape, dtype=torch.int16, pin_memory=self.is_streamed)
        cut_on_cpu(images, slices, corners, sizes, windows.numpy())
        return windows

    def _copy(self, windows: list[Tensor]) -> tuple[list[Tensor], torch.cuda.Event | None]:
        if self._stream is None:
            return [each.to(self._device) for each in windows], None
        with torch.cuda.stream(self._stream):
            copies = [each.to(self._device, non_blocking=True) for each in windows]
            return copies, self._stream.record_event()


def _images(mapped: Any) -> Images:
    """Return the map of an array as (slices, images, rows, columns).

    It is copy-on-write: torch takes no read-only array, and nothing here writes.
    """
    array = np.memmap(mapped.filename, dtype=mapped.dtype, mode="c", offset=mapped.offset, shape=mapped.shape)
    return array.reshape(len(array), -1, *array.shape[-2:])


def _fits(arrays: list[Images], device: torch.device) -> bool:
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return sum(array.nbytes for array in arrays) < _DEVICE_MEMORY_SHARE * free_bytes

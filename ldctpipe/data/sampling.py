"""Random batches of patch pairs, cut and augmented on the device from int16 HU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ldctpipe.data.augmentation import apply_transforms, draw_transforms, window_size
from ldctpipe.data.dose_weights import dose_weights
from ldctpipe.data.origins import STRIDE
from ldctpipe.data.store import FULL_DOSE, NOISE_UNIT_HU, TrainingStore
from ldctpipe.simulation.exposure import DoseRange
from ldctpipe.volumes.normalization import HuNormalization

_DEVICE_MEMORY_SHARE = 0.5  # of what is free: the rest is the networks'


class PatchSampler:
    """Endless batches of (low dose, full dose), each (batch, 1, patch_size, patch_size) in [0, 1] on the device.

    A batch holds `patches_per_image` patches of each of `images_per_batch` slices, from the body-only origins of the
    store. Where the store has noise images, the low dose is made anew for each patch, at a dose of the store's range.
    All randomness is drawn on the CPU from three generators, for positions, augmentation and doses, so that every
    device sees the same batches.
    """

    def __init__(
        self,
        store: TrainingStore,
        device: torch.device,
        *,
        images_per_batch: int,
        patches_per_image: int,
        patch_size: int,
        normalization: HuNormalization,
        augmentation_choices: tuple[str, ...],
        rotation_deg: float,
        intensity_factors: tuple[float, ...],
        position_seed: int,
        augmentation_seed: int,
        dose_seed: int,
    ) -> None:
        usable = store.rows_of("train")
        counts = store.slices["origins"].to_numpy()
        self._slices = torch.from_numpy(usable[counts[usable] > 0])
        self._first = torch.from_numpy(store.slices["first_origin"].to_numpy().astype(np.int64))
        self._count = torch.from_numpy(counts.astype(np.int64))
        self._origins = torch.from_numpy(store.origins.astype(np.int64))
        self._sizes = torch.from_numpy(store.slices[["rows", "columns"]].to_numpy().astype(np.int64))
        self._device = device
        self._pairs, self._noise = _place(store, device)
        self._simulated = store.description.get("simulated")
        self._images, self._per_image, self._patch_size = images_per_batch, patches_per_image, patch_size
        self._normalization = normalization
        self._choices, self._rotation_deg, self._factors = augmentation_choices, rotation_deg, intensity_factors
        rotates = "rotation" in augmentation_choices
        self._window = window_size(patch_size, rotation_deg) if rotates else patch_size
        self._positions = torch.Generator().manual_seed(position_seed)
        self._augmentation = torch.Generator().manual_seed(augmentation_seed)
        self._doses = torch.Generator().manual_seed(dose_seed)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the next batch: low dose and full dose."""
        slices, origins = self.draw_positions()
        windows = self._normalization.normalize(self._windows(slices, origins))
        transforms = draw_transforms(len(slices), self._choices, self._factors, self._augmentation)
        patches = apply_transforms(windows, transforms, self._patch_size, self._rotation_deg)
        return patches[:, 0:1], patches[:, 1:2]

    def draw_positions(self) -> tuple[Tensor, Tensor]:
        """Return slice indices (batch,) and upper left corners (batch, 2) of the next batch, on the CPU."""
        chosen = torch.randint(len(self._slices), (self._images,), generator=self._positions)
        slices = self._slices[chosen].repeat_interleave(self._per_image)
        fraction = torch.rand(len(slices), generator=self._positions, dtype=torch.float64)
        listed = self._origins[self._first[slices] + (fraction * self._count[slices]).long()]
        shift = torch.randint(STRIDE, (len(slices), 2), generator=self._positions)
        return slices, torch.minimum(listed + shift, self._sizes[slices] - self._patch_size)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state from which the same batches follow."""
        return {name: generator.get_state() for name, generator in self._generators().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a state that `state_dict` gave."""
        for name, generator in self._generators().items():
            generator.set_state(state[name])

    def _generators(self) -> dict[str, torch.Generator]:
        return {"positions": self._positions, "augmentation": self._augmentation, "doses": self._doses}

    def _windows(self, slices: Tensor, origins: Tensor) -> Tensor:
        """Return HU windows (batch, 2, side, side) of low and full dose, float32 on the device."""
        pairs = self._cut(self._pairs, slices, origins).float()
        if self._noise is None or self._simulated is None:
            return pairs
        noise = self._cut(self._noise.flatten(1, 2), slices, origins).float() * NOISE_UNIT_HU
        told = self._simulated
        doses = DoseRange(told["lowest_dose"], told["highest_dose"], vary=told["varied"])
        weights = dose_weights(doses, len(slices), told["realisations"], told["electronic_ratio"], self._doses)
        added = (weights.flatten(1).to(noise.device)[:, :, None, None] * noise).sum(dim=1)
        full = pairs[:, FULL_DOSE]
        return torch.stack((torch.round(full + added), full), dim=1)

    def _cut(self, images: Tensor, slices: Tensor, origins: Tensor) -> Tensor:
        """Return int16 windows (batch, images, side, side) on the device; beyond the slice its edge repeats.

        `images` has shape (slices, images, rows, columns).
        """
        at = images.device
        margin = (self._window - self._patch_size) // 2
        steps = torch.arange(self._window, device=at) - margin
        corners, limits = origins.to(at), (self._sizes[slices] - 1).to(at)
        rows = (corners[:, 0:1] + steps).clamp(min=0).minimum(limits[:, 0:1])  # (batch, side)
        columns = (corners[:, 1:2] + steps).clamp(min=0).minimum(limits[:, 1:2])
        every = torch.arange(images.shape[1], device=at)
        windows = images[
            slices.to(at)[:, None, None, None], every[:, None, None], rows[:, None, :, None], columns[:, None, None, :]
        ]
        return windows.to(self._device, non_blocking=True)


def _place(store: TrainingStore, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return pairs and noise on the device where they fit into half of its free memory, else mapped on the CPU."""
    pairs = torch.from_numpy(_readable(store.pairs))
    noise = None if store.noise is None else torch.from_numpy(_readable(store.noise))
    if device.type != "cuda":
        return pairs, noise
    free_bytes, _ = torch.cuda.mem_get_info(device)
    needed_bytes = pairs.nbytes + (0 if noise is None else noise.nbytes)
    if needed_bytes >= _DEVICE_MEMORY_SHARE * free_bytes:
        return pairs, noise
    return pairs.to(device), None if noise is None else noise.to(device)


def _readable(mapped: Any) -> Any:
    """Return the same memory map as copy-on-write: torch takes no read-only array, and nothing here writes."""
    return np.memmap(mapped.filename, dtype=mapped.dtype, mode="c", offset=mapped.offset, shape=mapped.shape)

"""Random batches of patch pairs, cut and augmented from int16 HU."""

from __future__ import annotations

import weakref
from types import TracebackType

import torch
from torch import Tensor

from ldctpipe.data.augmentation import apply_transforms, window_size
from ldctpipe.data.batch_plan import BatchPlanner, State
from ldctpipe.data.drawing import Drawing
from ldctpipe.data.prefetching import Prefetcher
from ldctpipe.data.store import FULL_DOSE, LOW_DOSE, NOISE_UNIT_HU, TrainingStore
from ldctpipe.data.window_supply import PlannedWindows, WindowSupply
from ldctpipe.data.windows import to_device
from ldctpipe.volumes.normalization import HuNormalization

_BATCHES_AHEAD = 2  # one being copied while the device computes, and one more for when the disk is slow


class PatchSampler:
    """Endless batches of (low dose, full dose), (batch, 1, patch_size, patch_size) in [0, 1] on the device.

    A batch holds `patches_per_image` patches of each of `images_per_batch` slices, from the body-only origins of the
    store. Patients have equal odds, or with `drawing` "slices" slices. Where the store has noise images, the low dose
    is made anew for each patch, at a dose of the store's range. With `context`, the low dose is
    (batch, 2 · context + 1, …): the slice in the middle of its neighbors. Without `paired`, low and full dose of a row
    are of different patients, or where the store has one, of different slices.

    All randomness is drawn on the CPU, so that every device sees the same batches.

    `prefetch` batches are got ready in a background thread while the device computes; where not given, that is 2 for
    a store that doesn't fit on the GPU and none otherwise. The batches are the same. The thread ends with `close`, with
    the `with` block, or when the sampler is collected.
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
        context: int = 0,
        paired: bool = True,
        drawing: Drawing = "patients",
        prefetch: int | None = None,
    ) -> None:
        self._patch_size, self._rotation_deg, self._normalization = patch_size, rotation_deg, normalization
        self._context, self._paired = context, paired
        self._planner = BatchPlanner(
            store,
            images_per_batch=images_per_batch,
            patches_per_image=patches_per_image,
            patch_size=patch_size,
            augmentation_choices=augmentation_choices,
            intensity_factors=intensity_factors,
            position_seed=position_seed,
            augmentation_seed=augmentation_seed,
            dose_seed=dose_seed,
            context=context,
            paired=paired,
            drawing=drawing,
        )
        rotates = "rotation" in augmentation_choices
        margin = (window_size(patch_size, rotation_deg) - patch_size) // 2 if rotates else 0
        supply = WindowSupply(store, self._planner, device, patch_size, margin)
        ahead = prefetch if prefetch is not None else _BATCHES_AHEAD if supply.is_streamed else 0
        self._windows = Prefetcher(supply.next, ahead)
        self._state = self._planner.state_dict()
        weakref.finalize(self, self._windows.close)  # the thread knows the supply and not the sampler

    def __enter__(self) -> PatchSampler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the next batch: low dose and full dose. Raises what went wrong in the background, too."""
        try:
            windows = self._windows.take()
        except BaseException:
            self.close()
            raise
        self._state = windows.plan.state_after
        values = self._normalization.normalize(_stacked(_hu(windows), self._context))
        patches = apply_transforms(
            values, windows.plan.transforms, self._patch_size, self._rotation_deg, self._normalization.air
        )
        low, full = patches[:, :-1], patches[:, -1:]
        if self._paired:
            return low, full
        half = len(patches) // 2
        return low[:half], full[half:]

    def state_dict(self) -> State:
        """Return the state from which the batches follow that `batch` has not returned yet."""
        return dict(self._state)

    def load_state_dict(self, state: State) -> None:
        """Go on from a state that `state_dict` gave."""
        self._state = dict(state)
        self.close()

    def close(self) -> None:
        """End the background thread; what it got ready is drawn again where `batch` is called after all."""
        self._windows.close()
        self._planner.load_state_dict(self._state)


def _stacked(hu: Tensor, context: int) -> Tensor:
    """Return (batch, depth + 1, side, side), the low dose of all slices and the full dose of the middle one."""
    by_place = hu.unflatten(0, (-1, 2 * context + 1))
    return torch.cat((by_place[:, :, LOW_DOSE], by_place[:, context, FULL_DOSE].unsqueeze(1)), dim=1)


def _hu(windows: PlannedWindows) -> Tensor:
    """Return HU (batch · depth, 2, side, side) of low and full dose, float32 on the device."""
    windows.wait()
    pairs, weights = windows.pairs.float(), windows.plan.dose_weights
    if windows.noise is None or weights is None:
        return pairs
    noise = windows.noise.float() * NOISE_UNIT_HU
    depth = len(noise) // len(weights)  # neighbours have the dose of their slice
    added = (to_device(weights.repeat_interleave(depth, dim=0), noise.device)[:, :, None, None] * noise).sum(dim=1)
    full = pairs[:, FULL_DOSE]
    return torch.stack((torch.round(full + added), full), dim=1)

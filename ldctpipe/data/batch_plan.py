"""What each batch is made of: places in the store, transforms and doses, all drawn on the CPU.

Three generators, for positions, augmentation and doses, make every device see the same batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ldctpipe.data.augmentation import Transforms, draw_transforms
from ldctpipe.data.dose_weights import dose_weights
from ldctpipe.data.drawing import Drawing, SliceDrawing
from ldctpipe.data.origins import STRIDE
from ldctpipe.data.store import TrainingStore
from ldctpipe.simulation.exposure import DoseRange
from ldctpipe.volumes.neighbors import neighbors

State = dict[str, Tensor]  # of each generator, by its purpose


@dataclass(frozen=True)
class BatchPlan:
    """What one batch is made of, on the CPU; `state_after` is the state from which the batch after it is drawn."""

    slices: Tensor  # (batch,), indices into the store
    around: Tensor  # (batch, 2 · context + 1), those of the slice and its neighbours
    corners: Tensor  # (batch, 2), upper left (row, column) of each patch
    sizes: Tensor  # (batch, 2), (rows, columns) of each slice, which may be smaller than the store's
    transforms: Transforms
    dose_weights: Tensor | None  # (batch, noise images)
    state_after: State


class BatchPlanner:
    """Draws endless plans; each has `patches_per_image` patches of each of `images_per_batch` training slices.

    `drawing` says whether patients or slices have equal odds (see `data.drawing`); slices that show no body have none.
    Without `paired` a plan has twice as many slices: the second half are of other patients than the first.
    """

    def __init__(
        self,
        store: TrainingStore,
        *,
        images_per_batch: int,
        patches_per_image: int,
        patch_size: int,
        augmentation_choices: tuple[str, ...],
        intensity_factors: tuple[float, ...],
        position_seed: int,
        augmentation_seed: int,
        dose_seed: int,
        context: int = 0,
        paired: bool = True,
        drawing: Drawing = "patients",
    ) -> None:
        usable = store.rows_of("train")
        counts = store.slices["origins"].to_numpy()
        usable = usable[counts[usable] > 0]
        self._slices, self._paired = torch.from_numpy(usable), paired
        self._drawing = SliceDrawing(store.slices["patient"].to_numpy()[usable], drawing)
        self._first = torch.from_numpy(store.slices["first_origin"].to_numpy().astype(np.int64))
        self._count = torch.from_numpy(counts.astype(np.int64))
        self._origins = torch.from_numpy(store.origins.astype(np.int64))
        self._sizes = torch.from_numpy(store.slices[["rows", "columns"]].to_numpy().astype(np.int64))
        self._around = torch.from_numpy(neighbors(store.stacks, context))
        self._simulated = None if store.noise is None else store.description.get("simulated")
        self._images, self._per_image, self._patch_size = images_per_batch, patches_per_image, patch_size
        self._choices, self._factors = augmentation_choices, intensity_factors
        seeds = {"positions": position_seed, "augmentation": augmentation_seed, "doses": dose_seed}
        self._generators = {purpose: torch.Generator().manual_seed(seed) for purpose, seed in seeds.items()}

    def next(self) -> BatchPlan:
        """Return the next plan."""
        slices, corners = self._positions()
        transforms = draw_transforms(len(slices), self._choices, self._factors, self._generators["augmentation"])
        weights = self._dose_weights(len(slices))
        around = self._around[slices]
        return BatchPlan(slices, around, corners, self._sizes[slices], transforms, weights, self.state_dict())

    def state_dict(self) -> State:
        """Return the state from which the same plans follow."""
        return {purpose: generator.get_state() for purpose, generator in self._generators.items()}

    def load_state_dict(self, state: State) -> None:
        """Go on from a state that `state_dict` gave."""
        for purpose, generator in self._generators.items():
            generator.set_state(state[purpose])

    def _positions(self) -> tuple[Tensor, Tensor]:
        generator = self._generators["positions"]
        chosen = self._drawing.draw(self._images, generator)
        if not self._paired:
            chosen = torch.cat((chosen, self._drawing.draw_others(chosen, generator)))
        slices = self._slices[chosen].repeat_interleave(self._per_image)
        fraction = torch.rand(len(slices), generator=generator, dtype=torch.float64)
        listed = self._origins[self._first[slices] + (fraction * self._count[slices]).long()]
        shift = torch.randint(STRIDE, (len(slices), 2), generator=generator)
        return slices, torch.minimum(listed + shift, self._sizes[slices] - self._patch_size)

    def _dose_weights(self, count: int) -> Tensor | None:
        told = self._simulated
        if told is None:
            return None
        doses = DoseRange(told["lowest_dose"], told["highest_dose"], vary=told["varied"])
        generator = self._generators["doses"]
        return dose_weights(doses, count, told["realisations"], told["electronic_ratio"], generator).flatten(1)

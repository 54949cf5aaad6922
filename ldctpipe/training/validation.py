"""Validation on fixed whole slices, measured as `ldctpipe evaluate` measures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ldctpipe.data.store import FULL_DOSE, LOW_DOSE, TrainingStore
from ldctpipe.devices import usable_cores
from ldctpipe.metrics.image_quality import image_quality, measured_mask
from ldctpipe.metrics.protocols import Protocol
from ldctpipe.recipes.slice_denoiser import SliceDenoiser, written
from ldctpipe.volumes.neighbors import neighbors
from ldctpipe.volumes.normalization import HuNormalization

MEASURES = ("loss", "psnr_db", "ssim", "rmse_hu")
ValidationLoss = Callable[[Tensor, Tensor], Tensor]  # of two images (1, 1, rows, columns) in [0, 1]


@dataclass(frozen=True)
class ValidationResult:
    """Mean over patients of the mean over each patient's slices; None where no slice gives a figure."""

    loss: float
    psnr_db: float | None
    ssim: float | None
    rmse_hu: float | None
    patients: dict[str, dict[str, float | None]]


class Validation:
    """The store's validation slices, at most `count`, evenly spaced in each patient; training slices for want of any.

    What is measured is what `ldctpipe denoise` writes of these slices. `loss` is what decides which weights are best;
    the other measures follow `protocol`.
    """

    def __init__(
        self,
        store: TrainingStore,
        count: int,
        normalization: HuNormalization,
        protocol: Protocol,
        loss: ValidationLoss,
        context: int = 0,
    ) -> None:
        rows = store.rows_of("validation")
        self.on_training_slices = len(rows) == 0
        chosen = _spread(store.slices.loc[store.rows_of("train") if self.on_training_slices else rows], count)
        self._store, self._stacks, self._chosen = store, store.stacks, chosen
        self._patients = store.slices.loc[chosen, "patient"].to_list()
        self._sizes = store.slices.loc[chosen, ["rows", "columns"]].to_numpy()
        self._pairs = store.pairs[chosen]
        self._padding = [store.padding_of(row) for row in chosen]
        self._windows = neighbors(self._stacks, context)[chosen]
        self._context = context
        self._normalization, self._protocol, self._loss = normalization, protocol, loss

    def run(self, network: nn.Module, fabric: Fabric) -> ValidationResult:
        """Return the measures of `network`, bare and left in its mode; each rank takes its share of the slices."""
        was_training = network.training
        network.eval()
        figures = torch.zeros(len(self._pairs), len(MEASURES), dtype=torch.float64)
        mine = range(fabric.global_rank, len(self._pairs), fabric.world_size)
        with ThreadPoolExecutor(
            max(1, usable_cores() // fabric.world_size)
        ) as pool:  # scipy's filters release the interpreter lock
            waiting = []
            for index in mine:
                loss, image = self._measured(network, index, fabric.device)
                waiting.append((index, loss, pool.submit(self._quality, index, image)))
            for index, loss, quality in waiting:
                figures[index] = torch.tensor([loss, *quality.result()], dtype=torch.float64)
        network.train(was_training)
        if fabric.world_size > 1:
            figures = fabric.all_reduce(figures.to(fabric.device), reduce_op="sum").cpu()  # type: ignore[union-attr]
        return self._summary(figures.numpy())

    def slice_hu(self, index: int) -> npt.NDArray[np.int16]:
        """Return low and full dose (2, rows, columns) of a validation slice, without what was added to its size."""
        rows, columns = self._sizes[index]
        return self._pairs[index, :, :rows, :columns]

    def __len__(self) -> int:
        return len(self._pairs)

    def network_input(self, index: int, device: torch.device) -> Tensor:
        """Return the low dose of a slice amid its neighbors as networks see it: (1, depth, rows, columns)."""
        hu = torch.from_numpy(self._low_hu(index, self._windows[index])).to(device)
        return self._normalization.normalize(hu.float())[None]  # type: ignore[no-any-return]

    def denoised(self, network: nn.Module, index: int, device: torch.device) -> npt.NDArray[np.int16]:
        """Return what `ldctpipe denoise` would make of a validation slice with `network`, which keeps its mode."""
        was_training = network.training
        image, _ = self._denoised(network.eval(), index, device)
        network.train(was_training)
        return image

    def _denoised(self, network: nn.Module, index: int, device: torch.device) -> tuple[npt.NDArray[np.int16], bool]:
        """Return a slice denoised, in HU, and whether all that the network gave was finite."""
        denoiser = SliceDenoiser(network, self._normalization, self._context, device)
        piece = denoiser.piece_of(self._chosen[index], self._stacks)
        change = denoiser.change(self._low_hu(index, piece.around))[self._chosen[index] - piece.slices.start]
        image = written(self.slice_hu(index)[LOW_DOSE], np.nan_to_num(change), self._padding[index])
        return image.astype(np.int16, copy=False), bool(np.isfinite(change).all())

    def _low_hu(self, index: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
        """Return the low dose of rows of the store, which are near a validation slice and of its size."""
        height, width = self._sizes[index]
        return np.ascontiguousarray(self._store.pairs[rows, LOW_DOSE, :height, :width])

    @torch.no_grad()
    def _measured(self, network: nn.Module, index: int, device: torch.device) -> tuple[float, npt.NDArray[np.int16]]:
        """Return the loss of a slice, NaN for a network that gives such values, and the slice denoised, in HU."""
        image, is_finite = self._denoised(network, index, device)
        denoised, full = (
            self._normalization.normalize(torch.from_numpy(hu).to(device).float())[None, None]
            for hu in (image, np.ascontiguousarray(self.slice_hu(index)[FULL_DOSE]))
        )
        return float(self._loss(denoised, full)) if is_finite else np.nan, image

    def _quality(self, index: int, image: npt.NDArray[np.int16]) -> list[float]:
        reference = self.slice_hu(index)[FULL_DOSE]
        mask = measured_mask(reference, self._padding[index], self._protocol)
        quality = image_quality(image, reference, mask, self._protocol)
        return [np.nan if value is None else value for value in vars(quality).values()]

    def _summary(self, figures: npt.NDArray[np.float64]) -> ValidationResult:
        table = pd.DataFrame(figures, columns=list(MEASURES))
        patients = table.groupby(np.asarray(self._patients)).mean()
        loss = float(patients["loss"].mean() if np.isfinite(figures[:, 0]).all() else np.nan)  # one such must show
        by_patient = {str(name): _plain(values) for name, values in patients.iterrows()}
        return ValidationResult(loss, **_plain(patients.drop(columns="loss").mean()), patients=by_patient)


def _plain(values: pd.Series[float]) -> dict[str, Any]:
    return {str(name): float(value) if np.isfinite(value) else None for name, value in values.items()}


def _spread(slices: pd.DataFrame, count: int) -> list[int]:
    """Return the index of at most `count` slices, or one a patient, shared evenly by patients and evenly spaced."""
    patients = [group.index.to_numpy() for _, group in slices.groupby("patient", sort=True)]
    each = max(1, count // len(patients))
    chosen = [
        rows[np.unique(np.linspace(0, len(rows) - 1, min(each, len(rows))).round().astype(int))] for rows in patients
    ]
    return sorted(np.concatenate(chosen).tolist())

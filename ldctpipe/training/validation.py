"""Validation on fixed whole slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ldctpipe.data.store import FULL_DOSE, LOW_DOSE, TrainingStore
from ldctpipe.volumes.normalization import HuNormalization


@dataclass(frozen=True)
class ValidationResult:
    """Mean over slices: L1 on network values, and PSNR in the protocol's window."""

    loss: float
    psnr_db: float


class Validation:
    """The store's validation slices, evenly spaced, at most `count`; training slices where there are none."""

    def __init__(
        self,
        store: TrainingStore,
        count: int,
        normalization: HuNormalization,
        window_hu: tuple[float, float],
    ) -> None:
        rows = store.rows_of("validation")
        self.on_training_slices = len(rows) == 0
        rows = store.rows_of("train") if self.on_training_slices else rows
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]
        self._pairs = torch.from_numpy(store.pairs[chosen])
        self._normalization, self._window_hu = normalization, window_hu

    def run(self, network: nn.Module, device: torch.device) -> ValidationResult:
        """Return the measures of `network`, which is left in the mode that it had."""
        was_training = network.training
        network.eval()
        losses, psnrs = zip(*(self._measure(network, pair.to(device).float()) for pair in self._pairs), strict=True)
        network.train(was_training)
        return ValidationResult(sum(losses) / len(losses), sum(psnrs) / len(psnrs))

    @torch.no_grad()
    def _measure(self, network: nn.Module, pair_hu: torch.Tensor) -> tuple[float, float]:
        values = self._normalization.normalize(pair_hu)[:, None, None]  # (2, 1, 1, rows, columns)
        output = network(values[LOW_DOSE]).float()
        loss = (output - values[FULL_DOSE]).abs().mean()
        low, high = self._window_hu
        shown = self._normalization.denormalize(output).clamp(low, high)
        error = (shown - pair_hu[FULL_DOSE].clamp(low, high)).square().mean()
        return float(loss), float(10 * torch.log10((high - low) ** 2 / error))

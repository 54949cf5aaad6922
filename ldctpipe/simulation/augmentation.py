"""Reduced-dose slices on the fly, for training over a range of doses.

    noise = calibrated_scan(volume).noise                      # once a series; as_json()/from_json() store it
    augmentation = DoseAugmentation(noise, DoseRange(0.05, 0.6, vary=True, each_slice=True), seed=1)
    flux = augmentation.flux(hu)                               # once a slice; some 130 kB to keep beside it
    low, exposure = augmentation.low_dose(hu, index, realisation=epoch, flux=flux)

A draw costs the random numbers of a slice and one filtered back-projection. The same seed, series, slice and
realisation give the same bytes, in any process and in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe.simulation.exposure import DoseRange, Exposure
from ldctpipe.simulation.field_of_view import middle_of_square, squared, unmeasured_pixels
from ldctpipe.simulation.operators import parallel_beam
from ldctpipe.simulation.reduction import with_noise
from ldctpipe.simulation.scan_noise import ScanNoise, packed_flux, unpacked_flux
from ldctpipe.volumes.volume import HuArray


@dataclass(frozen=True)
class DoseAugmentation:
    """Draws reduced-dose partners of single full-dose slices of one series."""

    noise: ScanNoise
    doses: DoseRange
    seed: int

    def flux(self, hu: HuArray, padding: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.float16]:
        """Return what `low_dose` would otherwise project anew each time, for one slice (rows, columns)."""
        return packed_flux(self.noise.transmitted(squared(hu, unmeasured_pixels(hu, padding))))

    def low_dose(
        self,
        hu: HuArray,
        index: int,
        realisation: int = 0,
        *,
        flux: npt.NDArray[np.float16] | None = None,
        padding: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[HuArray, Exposure]:
        """Return slice `index` (rows, columns) at a dose drawn for it, in the dtype of `hu`, and what was drawn."""
        exposure = self.doses.draw(self.seed, self.noise.key, index, realisation)
        nowhere = unmeasured_pixels(hu, padding)
        transmitted = self._transmitted(hu, nowhere, flux)
        noise, _ = self.noise.added(transmitted, index, exposure, self.seed, realisation)
        return with_noise(hu, noise[middle_of_square(*hu.shape)], nowhere), exposure

    def _transmitted(
        self, hu: HuArray, nowhere: npt.NDArray[np.bool_], flux: npt.NDArray[np.float16] | None
    ) -> torch.Tensor:
        if flux is None:
            return self.noise.transmitted(squared(hu, nowhere))
        model = self.noise.model
        channels = parallel_beam(model.size, model.views, model.device).channels
        return unpacked_flux(flux, (model.views, channels), model.device)

"""Test objects and a scanner for the acceptance tests of the simulation, and what a measurement says."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe.simulation.noise import NoiseModel, dose_noise
from ldctpipe.simulation.randomness import slice_deviates

Values = npt.NDArray[np.float64]
Noise = npt.NDArray[np.float32]

_REFERENCE_PIXEL_MM = 0.7
_AIR_HU = -1000.0


@dataclass(frozen=True)
class Check:
    """One acceptance test: what was measured, the limit that it has to keep, and whether it does.

    `curves` has what plots show, by name.
    """

    name: str
    title: str
    measured: str
    limit: str
    passed: bool
    curves: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Bench:
    """A scanner of `views` views for objects in slices of `size` × `size` pixels that span `field_mm`.

    `slices` is how many realisations a measurement pools. The defaults are quick; 512 pixels and 360 views are those
    of a clinical slice. Kernels keep their place relative to the pixels, so that small slices resolve them as well.
    """

    size: int = 128
    views: int = 120
    slices: int = 60
    field_mm: float = 334.0

    @property
    def pixel_mm(self) -> float:
        """Width of a pixel."""
        return self.field_mm / self.size

    def kernel(self, cutoff_per_mm: float) -> float:
        """Return the cutoff that has for these pixels the place of `cutoff_per_mm` for pixels of 0.7 mm."""
        return cutoff_per_mm * _REFERENCE_PIXEL_MM / self.pixel_mm

    def model(self, quanta: float, electronic_ratio: float = 0.0, cutoff_per_mm: float = 0.775) -> NoiseModel:
        """Return a noise model without bow-tie whose kernel is `kernel(cutoff_per_mm)`."""
        return NoiseModel(
            self.pixel_mm,
            self.size,
            quanta=quanta,
            electronic_ratio=electronic_ratio,
            cutoff_per_mm=self.kernel(cutoff_per_mm),
            bow_tie="none",
            views=self.views,
        )

    def water(self, diameter_mm: float = 300.0) -> torch.Tensor:
        """Return a cylinder of water, (1, size, size) HU."""
        return self.body(diameter_mm, diameter_mm)

    def body(self, width_mm: float, depth_mm: float) -> torch.Tensor:
        """Return an ellipse of water, (1, size, size) HU."""
        line = self.line_mm()
        inside = (line[None] / width_mm) ** 2 + (line[:, None] / depth_mm) ** 2 < 0.25
        return torch.where(inside, 0.0, _AIR_HU)[None]

    def shoulders(self) -> torch.Tensor:
        """Return shoulders with two upper arms' bones that fill the width of the field, (1, size, size) HU."""
        image = self.body(0.93 * self.field_mm, 0.39 * self.field_mm)
        line = self.line_mm()
        for side in (-1, 1):
            bone = (line[None] - side * 0.36 * self.field_mm) ** 2 + line[:, None] ** 2 < (0.03 * self.field_mm) ** 2
            image[0][bone] = 900.0
        return image

    def line_mm(self) -> torch.Tensor:
        """Return the places of pixels along a row."""
        return (torch.arange(self.size) - (self.size - 1) / 2) * self.pixel_mm

    def noise(
        self,
        model: NoiseModel,
        hu: torch.Tensor,
        dose: float,
        *,
        present_dose: float | None = None,
        seed: int = 1,
        slices: int | None = None,
    ) -> Noise:
        """Return independent noise images of `hu` at `dose`, (slices, size, size) HU."""
        count = slices or self.slices
        deviates = slice_deviates(seed, "acceptance", list(range(count)), None)
        flux = model.transmitted(hu).expand(count, -1, -1)
        added = dose_noise(flux, model, dose, deviates, range(count), np.ones(count), present_dose=present_dose)
        return added.hu.numpy()

    def middle(self, images: Noise, width_mm: float) -> Noise:
        """Return the central square of `width_mm` of each image."""
        half = max(2, round(width_mm / self.pixel_mm / 2))
        part = slice(self.size // 2 - half, self.size // 2 + half)
        return images[..., part, part]

    def centre_sd(self, images: Noise, width_mm: float = 60.0) -> float:
        """Return the standard deviation in the middle, pooled over all images."""
        return float(self.middle(images, width_mm).std())


def power_spectrum(images: Noise) -> Values:
    """Return the mean power of images (slices, n, n) at each frequency of a discrete Fourier transform."""
    flat = images - images.mean(axis=(1, 2), keepdims=True)
    power: Values = (np.abs(np.fft.fft2(flat.astype(np.float64))) ** 2).mean(axis=0)
    return power


def hann(frequencies_per_mm: Values, cutoff_per_mm: float) -> Values:
    """Return the Hann window, written here once more so that the checks don't lean on what they check."""
    return 0.5 * (1.0 + np.cos(math.pi * np.minimum(frequencies_per_mm / cutoff_per_mm, 1.0)))


def percent(ratio: float) -> str:
    """Return how far a ratio is from 1: "+1.2 %"."""
    return f"{100 * (ratio - 1):+.1f} %"

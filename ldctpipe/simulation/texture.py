"""Random fields that change smoothly from slice to slice: tissue texture, irregular contours, strands in fat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft

from ldctpipe.simulation.images import Image
from ldctpipe.simulation.randomness import generator

_KNOTS_KEPT = 96


@dataclass(frozen=True)
class PowerLaw:
    """Spectrum 1/(f² + f0²)^(β/2), as measured in tissue and trabecular bone (Abadi 2018, PMC6762028)."""

    exponent: float = 3.0
    longest_mm: float = 60.0

    def amplitude(self, frequency: Image) -> Image:
        """Return the square root of the spectrum at `frequency` in cycles per mm."""
        amplitude: Image = (frequency**2 + self.longest_mm**-2) ** (-self.exponent / 4)
        return amplitude


@dataclass(frozen=True)
class Band:
    """Spectrum of structures of about one size: a Gaussian in the logarithm of the frequency around 1/`period_mm`."""

    period_mm: float
    octaves: float = 0.5

    def amplitude(self, frequency: Image) -> Image:
        """Return the square root of the spectrum at `frequency` in cycles per mm."""
        octave = np.log2(np.maximum(frequency, 1e-6) * self.period_mm)
        amplitude: Image = np.exp(-0.25 * (octave / self.octaves) ** 2).astype(np.float32)
        return amplitude


@dataclass(frozen=True)
class Field:
    """A Gaussian random field of mean 0 and standard deviation 1 in space, made slice by slice.

    Independent planes stand every `depth_mm` along z; between two of them the field is a mixture of constant variance.
    """

    name: str
    seed: int
    size: int
    pixel_mm: float
    spectrum: PowerLaw | Band
    depth_mm: float

    def at(self, z_mm: float) -> Image:
        """Return the field at height `z_mm`, shape (size, size)."""
        knot = math.floor(z_mm / self.depth_mm)
        turn = (z_mm / self.depth_mm - knot) * math.pi / 2
        field: Image = np.float32(math.cos(turn)) * _plane(self, knot) + np.float32(math.sin(turn)) * _plane(
            self, knot + 1
        )
        return field


@lru_cache(maxsize=_KNOTS_KEPT)
def _plane(field: Field, knot: int) -> Image:
    size = field.size
    white = generator(field.seed, "texture", field.name, knot).standard_normal((size, size), dtype=np.float32)
    down, across = scipy.fft.fftfreq(size, field.pixel_mm), scipy.fft.rfftfreq(size, field.pixel_mm)
    amplitude = field.spectrum.amplitude(np.hypot(down[:, None], across[None]).astype(np.float32))
    amplitude[0, 0] = 0.0
    plane = scipy.fft.irfft2(scipy.fft.rfft2(white) * amplitude, s=(size, size))
    return (plane / plane.std()).astype(np.float32)

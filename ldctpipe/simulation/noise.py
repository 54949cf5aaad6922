"""Noise of a lower dose, inserted by filtered back-projection of noise alone.

The reconstruction is linear, so x_low = x_full + FBP{√Δv · ε}: anatomy, resolution and artefacts of the input stay as
they are, and only the noise that a lower dose adds goes through projection and kernel (Kim and Kim 2014, Med Phys
41:011901). The input has the noise of its own dose already; Δv is the difference (Yu 2012, JCAT 36:477, eq. for N_e =
electronic noise).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.stats
import torch

from ldctpipe.simulation.flux import WATER_PER_MM, line_integrals, relative_flux
from ldctpipe.simulation.kernels import DEFAULT_CUTOFF_PER_MM, WIDEST_PIXEL_MM, apodisation, highest_per_mm
from ldctpipe.simulation.operators import ParallelBeam, parallel_beam
from ldctpipe.simulation.randomness import SliceDeviates, generator

REFERENCE_VIEWS = 720
REFERENCE_CHANNEL_MM = 0.7
DEFAULT_QUANTA = 1.5e6
DEFAULT_ELECTRONIC_RATIO = 7e-5

_POWER_LEFT_OUT = 0.002
_TABLES_KEPT = 32


@dataclass(frozen=True)
class NoiseModel:
    """Everything that the noise of a series depends on, besides the patient.

    `quanta` counts effective quanta in air per slice and per ray of 0.7 mm in each of 720 views over half a turn, so
    it does not depend on the sampling used here. `electronic_ratio` is the electronic variance in quanta² over that
    count; it does not depend on the dose. `channels_per_pixel` is how finely the detector samples, 1 or 2 (`sampled`).
    """

    pixel_mm: float
    size: int
    quanta: float = DEFAULT_QUANTA
    electronic_ratio: float = DEFAULT_ELECTRONIC_RATIO
    cutoff_per_mm: float = DEFAULT_CUTOFF_PER_MM
    edge_boost: float = 0.0
    window_power: float = 1.0
    bow_tie: str = "large"
    angular_modulation: float = 0.0
    views: int = 360
    channels_per_pixel: int = 1
    device: str = "cpu"

    def with_quanta(self, quanta: float) -> NoiseModel:
        """Return the same model at another number of quanta."""
        return replace(self, quanta=quanta)

    def sampled(self) -> NoiseModel:
        """Return the same model with channels of half a pixel where its kernel passes more than the pixels resolve.

        Scanners evaluate the back-projection at the centres of the pixels, so that noise beyond the pixels' Nyquist
        frequency folds back. Pixels wider than any scanner's were resampled; nothing folds back there.
        """
        folds = self.pixel_mm <= WIDEST_PIXEL_MM and self._power_beyond(0.5 / self.pixel_mm) > _POWER_LEFT_OUT
        return replace(self, channels_per_pixel=2 if folds else 1)

    def _power_beyond(self, frequency_per_mm: float) -> float:
        """Return the share of the noise power (∝ f · A²) between `frequency_per_mm` and its double."""
        frequencies = torch.linspace(0.0, 2.0 * frequency_per_mm, 401, dtype=torch.float64)
        power = frequencies * self._window(frequencies) ** 2
        return float(power[201:].sum() / power.sum())

    def _window(self, frequencies_per_mm: torch.Tensor) -> torch.Tensor:
        window = apodisation(frequencies_per_mm, self.cutoff_per_mm, self.edge_boost, self.window_power)
        return torch.where(frequencies_per_mm > highest_per_mm(self.pixel_mm), 0.0, window)

    def _geometry(self) -> ParallelBeam:
        return parallel_beam(self.size, self.views, self.device, self.channels_per_pixel)

    @property
    def ray_quanta(self) -> float:
        """Effective quanta in air per ray of this sampling."""
        return self.quanta * (REFERENCE_VIEWS / self.views) * (self.channel_mm / REFERENCE_CHANNEL_MM)

    @property
    def channel_mm(self) -> float:
        """Width of a channel at the isocentre."""
        return self.pixel_mm / self.channels_per_pixel

    @property
    def electronic_variance(self) -> float:
        """Electronic noise of a ray of this sampling, in quanta²."""
        return self.electronic_ratio * self.ray_quanta

    def transmitted(self, hu: torch.Tensor) -> torch.Tensor:
        """Return quanta per quantum in air, (slices, views, channels), for rays through `hu` (slices, size, size)."""
        geometry = self._geometry()
        integrals = line_integrals(hu, geometry, self.pixel_mm)
        return relative_flux(integrals, self.channel_mm, self.bow_tie, self.angular_modulation)

    def reconstruct(self, ray_noise: torch.Tensor) -> torch.Tensor:
        """Return the image in HU of noise on the line integrals: (slices, views, channels) → (slices, size, size)."""
        geometry = self._geometry()
        response = geometry.ramp() * self._window(geometry.frequencies / self.pixel_mm)
        return geometry.filtered_back_projection(ray_noise, response) * (1000.0 / (WATER_PER_MM * self.pixel_mm))

    def sd_map(self, transmitted: torch.Tensor, dose: float = 1.0, high_pass_mm: float = 0.0) -> torch.Tensor:
        """Return the standard deviation in HU that noise at `dose` has at each pixel, (size, size), without drawing it.

        One back-projection of the rays' variance through the square of the filter's response in space. With
        `high_pass_mm` it is that of noise less its own Gaussian blur of that standard deviation.
        """
        geometry = self._geometry()
        frequencies_per_mm = geometry.frequencies / self.pixel_mm
        window = self._window(frequencies_per_mm)
        if high_pass_mm:
            window = window * (1.0 - torch.exp(-2.0 * (math.pi * high_pass_mm * frequencies_per_mm) ** 2))
        taps = torch.fft.irfft(geometry.ramp() * window, n=geometry.transform_length)
        response = torch.fft.rfft(taps**2).real * (math.pi / self.views)
        variance = ray_variance(self.ray_quanta * transmitted, self.electronic_variance, dose)
        image = geometry.filtered_back_projection(variance[None], response)[0]
        return image.clamp(min=0.0).sqrt() * (1000.0 / (WATER_PER_MM * self.pixel_mm))


def ray_variance(quanta: torch.Tensor, electronic_variance: float, dose: float) -> torch.Tensor:
    """Return the variance of a line integral at a share `dose` of `quanta` (delta method): 1/N + σₑ²/N²."""
    counts = dose * quanta
    return 1.0 / counts + electronic_variance / counts**2


def starvation_limit(electronic_variance: float) -> float:
    """Return the number of quanta below which a logarithm no longer turns counts into nearly Gaussian noise."""
    return 20.0 + 5.0 * math.sqrt(electronic_variance)


def ray_noise(
    quanta: torch.Tensor,
    electronic_variance: float,
    dose: float,
    deviates: torch.Tensor,
    counts: np.random.Generator,
    present_dose: float | None = 1.0,
) -> torch.Tensor:
    """Return the noise that takes line integrals from `present_dose` to `dose`; both are shares of `quanta`.

    `present_dose` None means that the integrals have no noise yet. Rays with enough quanta get Gaussian noise of the
    exact variance to add. Starved ones go through counts and logarithm, because the delta method breaks down there:
    Gaussian noise would explode. The mean of the logarithm is taken away, so that no ray changes in the mean.
    """
    wanted = ray_variance(quanta, electronic_variance, dose)
    share = torch.ones_like(wanted)
    if present_dose is not None:
        share = 1.0 - ray_variance(quanta, electronic_variance, present_dose) / wanted
    noise = torch.sqrt(wanted * share) * deviates
    starved = dose * quanta < starvation_limit(electronic_variance)
    if starved.any():
        logarithm = _noise_of_counts(dose * quanta[starved], electronic_variance, deviates[starved], counts)
        noise[starved] = logarithm * torch.sqrt(share[starved])
    return noise


def _noise_of_counts(
    expected: torch.Tensor, electronic_variance: float, deviates: torch.Tensor, counts: np.random.Generator
) -> torch.Tensor:
    arrived = torch.as_tensor(
        counts.poisson(expected.double().cpu().numpy()), dtype=torch.float32, device=expected.device
    )
    signal = arrived + math.sqrt(electronic_variance) * deviates
    noise = -torch.log(signal.clamp(min=_least_signal(electronic_variance)) / expected)
    means = mean_of_logarithm(expected.double().cpu().numpy(), electronic_variance)
    return noise - torch.as_tensor(means, dtype=torch.float32, device=expected.device)


def _least_signal(electronic_variance: float) -> float:
    return max(0.5 * math.sqrt(electronic_variance), 0.5)


def mean_of_logarithm(expected: npt.NDArray[np.float64], electronic_variance: float) -> npt.NDArray[np.float64]:
    """Return the mean of −ln(counts / `expected`) for Poisson counts with electronic noise, clipped as those drawn.

    It is about 1 / (2 · expected) where there are many (Fessler 1995, Phys Med Biol 40:2045) and has no closed form
    where there are few.
    """
    logarithms, means = _table_of_means(electronic_variance)
    result: npt.NDArray[np.float64] = np.interp(np.log(expected), logarithms, means)
    return result


@lru_cache(maxsize=_TABLES_KEPT)
def _table_of_means(electronic_variance: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the means by the logarithm of what is expected: sums over counts and over Gauss–Hermite nodes."""
    deviates, weights = np.polynomial.hermite_e.hermegauss(64)
    weights = weights / weights.sum()
    logarithms = np.linspace(math.log(1e-6), math.log(1.01 * starvation_limit(electronic_variance)), 240)
    counts = np.arange(int(3 * math.exp(logarithms[-1])) + 60)
    signal = counts[:, None] + math.sqrt(electronic_variance) * deviates
    by_count = np.log(np.maximum(signal, _least_signal(electronic_variance))) @ weights
    shares = scipy.stats.poisson.pmf(counts, np.exp(logarithms)[:, None])
    return logarithms, logarithms - shares @ by_count


@dataclass(frozen=True)
class AddedNoise:
    """Noise images in HU, shape (slices, size, size), and the share of rays of each slice that were starved."""

    hu: torch.Tensor
    starved_fraction: npt.NDArray[np.float64]


def dose_noise(
    transmitted: torch.Tensor,
    model: NoiseModel,
    dose: float,
    deviates: SliceDeviates,
    indices: Sequence[int],
    current: npt.NDArray[np.float64],
    *,
    present_dose: float | None = 1.0,
    purpose: str = "dose",
) -> AddedNoise:
    """Return the noise images that take slices to `dose`; add them to HU of `present_dose` (None: noise-free HU).

    `transmitted` is what `NoiseModel.transmitted` gave for the slices `indices` of the series; `current` has the
    relative tube current of every slice of the series.
    """
    images, starved_fraction = [], []
    limit = starvation_limit(model.electronic_variance)
    for flux, index in zip(transmitted, indices, strict=True):
        quanta = (model.ray_quanta * float(current[index]) * flux).clamp(min=1e-6)
        shape = (quanta.shape[0], quanta.shape[1])
        normal = torch.from_numpy(deviates.of_slice(index, shape, purpose)).to(quanta.device)
        counts = generator(deviates.seed, deviates.key, purpose, "counts", index)
        noise = ray_noise(quanta, model.electronic_variance, dose, normal, counts, present_dose)
        images.append(model.reconstruct(noise[None])[0])
        starved_fraction.append(float((dose * quanta < limit).double().mean()))
    return AddedNoise(torch.stack(images), np.asarray(starved_fraction))

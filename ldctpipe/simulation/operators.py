"""Parallel-beam forward projection and filtered back-projection by gridding, in torch.

Both are sums over the same non-uniform points of the image's spectrum (central slice theorem): view θ holds the
frequencies f·(cos θ, sin θ). A Kaiser–Bessel kernel of four grid cells on a grid of twice the image size links
points and grid (Beatty 2005, IEEE TMI 24:799); the link is a sparse matrix that is built once per image size.

Lengths are in pixels: a line integral comes out in pixels × image units. View θ sees position
s = column · cos θ − row · sin θ, measured from the centre of the image. Channels are one pixel wide, or half a pixel:
then the sinogram holds frequencies that the pixels don't resolve, and these fold back in the image as they do where a
scanner evaluates its back-projection at the centres of the pixels.
"""

from __future__ import annotations

import math
import threading
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.sparse
import scipy.special
import torch

_KERNEL_CELLS = 4  # three cells leave an error of 0.8 HU, four one of 0.06 HU
_OVERSAMPLING = 2
_BETA = math.pi * math.sqrt((_KERNEL_CELLS / _OVERSAMPLING) ** 2 * (_OVERSAMPLING - 0.5) ** 2 - 0.8)
_GEOMETRIES_KEPT = 4
_BUILDING = threading.Lock()  # threads that need a geometry at the same time wait for one instead of building several


@dataclass(frozen=True)
class ParallelBeam:
    """A parallel-beam geometry over half a turn with its operators, for images of `size` × `size` pixels.

    `channels_per_pixel` is how many channels are as wide as a pixel.
    Sinograms have shape (slices, views, channels), images (slices, size, size); both are float32 on `device`.
    Slices go through one at a time, so that a result never depends on how many are handed over together.
    """

    size: int
    views: int
    channels: int
    transform_length: int
    channels_per_pixel: int
    fine: _SpectrumLink
    coarse: _SpectrumLink
    device: torch.device

    def project(self, images: torch.Tensor, *, coarse: bool = False) -> torch.Tensor:
        """Return the line integrals of `images` in pixels × image units.

        `coarse` projects at half resolution (band limit of half the pixel's Nyquist frequency), in a quarter of the
        time: enough for noise levels, which change slowly along the detector.
        """
        if coarse:
            images = torch.nn.functional.avg_pool2d(images[:, None], 2)[:, 0]
        link, scale = (self.coarse, 4.0) if coarse else (self.fine, 1.0)
        return scale * self.channels_per_pixel * torch.stack([self._project_slice(image, link) for image in images])

    def _project_slice(self, image: torch.Tensor, link: _SpectrumLink) -> torch.Tensor:
        resolved = self.transform_length // (2 * self.channels_per_pixel) + 1
        spectrum = (link.sample(image) * link.centring.conj())[:, :resolved]
        return torch.fft.irfft(spectrum, n=self.transform_length)[:, : self.channels]

    def filtered_back_projection(self, sinograms: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
        """Return the images of `sinograms` (line integrals in pixels) under the filter `response`.

        `response` has one value for each frequency of `frequencies`: the ramp of `ramp` × an apodisation.
        """
        return torch.stack([self._reconstruct_slice(sinogram, response) for sinogram in sinograms])

    def _reconstruct_slice(self, sinogram: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(sinogram, n=self.transform_length)
        weight = response * (2.0 * math.pi / self.views / self.transform_length)
        weight[0], weight[-1] = weight[0] / 2, weight[-1] / 2  # these two have no negative twin
        return self.fine.spread(spectrum * self.fine.centring * weight)

    @property
    def frequencies(self) -> torch.Tensor:
        """Frequencies of the filter in cycles per pixel, from 0 to the Nyquist frequency of the channels."""
        steps = torch.arange(self.transform_length // 2 + 1, device=self.device)
        return steps / (self.transform_length / self.channels_per_pixel)

    def ramp(self) -> torch.Tensor:
        """Return the ramp filter in cycles per pixel, made from its taps in space.

        Sampling |f| itself would take away the mean of the image (Kak and Slaney 1988, §3.3).
        """
        distance = np.minimum(
            np.arange(self.transform_length), self.transform_length - np.arange(self.transform_length)
        )
        taps = np.zeros(self.transform_length)
        taps[0] = 0.25
        odd = distance % 2 == 1
        taps[odd] = -1.0 / (math.pi * distance[odd]) ** 2
        response = np.fft.rfft(taps).real * self.channels_per_pixel
        return torch.as_tensor(response, dtype=torch.float32, device=self.device)


@dataclass(frozen=True)
class _SpectrumLink:
    """The way between an image of `size` pixels and its spectrum on the spokes of all views (half spectrum)."""

    size: int
    shape: tuple[int, int]
    to_points: torch.Tensor
    to_grid: torch.Tensor
    deapodisation: torch.Tensor
    centring: torch.Tensor

    def sample(self, image: torch.Tensor) -> torch.Tensor:
        """Return the spectrum of `image` at all points, shape (views, frequencies)."""
        spectrum = torch.view_as_real(torch.fft.fft2(self._pad(image * self.deapodisation)))
        return torch.view_as_complex((self.to_points @ spectrum.reshape(-1, 2)).contiguous()).reshape(self.shape)

    def spread(self, points: torch.Tensor) -> torch.Tensor:
        """Return the real part of the image whose spectrum `points` are, the adjoint of `sample`."""
        grid = self.to_grid @ torch.view_as_real(points.reshape(-1).resolve_conj())
        cells = _OVERSAMPLING * self.size
        image = torch.fft.ifft2(torch.view_as_complex(grid.contiguous()).reshape(cells, cells), norm="forward").real
        first = self.size // 2
        return image[first : first + self.size, first : first + self.size] * self.deapodisation

    def _pad(self, image: torch.Tensor) -> torch.Tensor:
        before = self.size // 2
        after = _OVERSAMPLING * self.size - self.size - before
        return torch.nn.functional.pad(image, (before, after, before, after))


def parallel_beam(size: int, views: int = 360, device: str = "cpu", channels_per_pixel: int = 1) -> ParallelBeam:
    """Return the geometry for images of `size` × `size` pixels (even) with `views` views over half a turn."""
    with _BUILDING:
        return _parallel_beam(size, views, device, channels_per_pixel)


@lru_cache(maxsize=_GEOMETRIES_KEPT)
def _parallel_beam(size: int, views: int, device: str, channels_per_pixel: int) -> ParallelBeam:
    channels = math.ceil(math.sqrt(2.0) * size * channels_per_pixel) | 1
    length = scipy.fft.next_fast_len(2 * channels, real=True)
    length += length % 2
    place = torch.device(device)
    cycles = channels_per_pixel * np.arange(length // 2 + 1) / length
    middle = (channels - 1) / 2 / channels_per_pixel
    fine = _link(size, views, cycles, middle, 1, place)
    coarse = _link(size // 2, views, cycles[cycles <= 0.25], middle, 2, place)
    return ParallelBeam(size, views, channels, length, channels_per_pixel, fine, coarse, place)


def _link(
    size: int, views: int, frequencies: np.ndarray, middle: float, binning: int, device: torch.device
) -> _SpectrumLink:
    """Return the link for `frequencies` in cycles per pixel; `middle` is the place of the central ray in pixels."""
    angles = np.arange(views)[:, None] * (math.pi / views)
    across, down = frequencies * np.cos(angles), -frequencies * np.sin(angles)
    cells = _OVERSAMPLING * size
    to_points = _interpolation(down * binning * cells, across * binning * cells, cells)
    half_pixel = binning * (size // 2 - (size - 1) / 2)
    phase = 2 * math.pi * (frequencies * middle + half_pixel * (across + down))
    return _SpectrumLink(
        size,
        (views, len(frequencies)),
        _sparse(to_points, device),
        _sparse(to_points.T.tocsr(), device),
        torch.as_tensor(_deapodisation(size, cells), dtype=torch.float32, device=device),
        torch.as_tensor(np.exp(1j * phase), dtype=torch.complex64, device=device),
    )


def _interpolation(row: np.ndarray, column: np.ndarray, cells: int) -> scipy.sparse.csr_matrix:
    """Return the matrix (points × grid cells) that interpolates at `row`, `column` (in cells, may be negative).

    The image lies in the middle of the grid, half a grid from the origin; the alternating sign takes that back.
    """
    rows, row_weights = _taps(row.ravel())
    columns, column_weights = _taps(column.ravel())
    sign = 1.0 - 2.0 * ((rows[:, :, None] + columns[:, None, :]) % 2)
    weights = row_weights[:, :, None] * column_weights[:, None, :] * sign
    places = (rows[:, :, None] % cells) * cells + columns[:, None, :] % cells
    count = row.size
    ends = np.arange(count + 1, dtype=np.int32) * _KERNEL_CELLS**2
    parts = weights.astype(np.float32).ravel(), places.astype(np.int32).ravel(), ends
    matrix = scipy.sparse.csr_matrix(parts, shape=(count, cells * cells))
    matrix.sort_indices()
    return matrix


def _taps(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first = np.floor(position).astype(np.int64) - _KERNEL_CELLS // 2 + 1
    cells = first[:, None] + np.arange(_KERNEL_CELLS)
    inside = 1.0 - (2.0 * (position[:, None] - cells) / _KERNEL_CELLS) ** 2
    return cells, scipy.special.i0(_BETA * np.sqrt(np.clip(inside, 0.0, None)))


def _deapodisation(size: int, cells: int) -> np.ndarray:
    """Return what undoes the kernel's fall-off over the image: 1 over its Fourier transform."""
    position = (np.arange(size) - size // 2) / cells
    argument = np.sqrt(_BETA**2 - (math.pi * _KERNEL_CELLS * position) ** 2)
    falloff = _KERNEL_CELLS * np.sinh(argument) / argument
    return 1.0 / np.outer(falloff, falloff)


def _sparse(matrix: scipy.sparse.csr_matrix, device: torch.device) -> torch.Tensor:
    rows, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(rows, columns, values, size=matrix.shape, device=device, check_invariants=False)

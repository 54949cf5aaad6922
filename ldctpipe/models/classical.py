"""Denoisers that are not trained: BM3D, non-local means, total variation, bilateral filter.

Dabov 2007, doi 10.1109/TIP.2007.901238; Buades 2005, doi 10.1109/CVPR.2005.38; Rudin 1992, doi
10.1016/0167-2789(92)90242-F with Chambolle 2004, doi 10.1023/B:JMIV.0000011325.36760.1e; Tomasi 1998, doi
10.1109/ICCV.1998.710815. Non-local means and total variation are scikit-image's, BM3D is its authors' own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import product
from types import ModuleType
from typing import Literal

import numpy as np
import torch
from skimage import restoration
from torch import Tensor, nn

from ldctpipe.devices import usable_cores
from ldctpipe.errors import UsageError
from ldctpipe.models.slice_noise import noise_level


class ClassicalDenoiser(nn.Module, ABC):
    """Filters each slice on its own: (batch, 1, rows, columns) in [0, 1] to the same shape, without gradients.

    A filter is as strong as `strength` times the noise level that it measures in the slice. `strength` is a buffer: a
    bundle keeps it, no optimizer moves it; `grid` holds the values worth trying on training pairs. Works on the CPU,
    slices side by side in threads, wherever the batch lies.
    """

    def __init__(self, strength: float, grid: tuple[float, ...]) -> None:
        super().__init__()
        self.strength: Tensor
        self.register_buffer("strength", torch.tensor(float(strength)))
        self.grid = tuple(grid)

    @abstractmethod
    def filter_slice(self, image: np.ndarray, deviation: float) -> np.ndarray:
        """Return the slice (rows, columns) denoised of noise with that standard deviation times the strength."""

    def forward(self, image: Tensor) -> Tensor:
        strength = float(self.strength)
        slices = image.detach().float().cpu().numpy()[:, 0]
        with ThreadPoolExecutor(min(len(slices), usable_cores())) as threads:
            denoised = list(threads.map(lambda each: self._denoise(each, strength), slices))
        return torch.from_numpy(np.stack(denoised)[:, None]).to(image.device)

    def _denoise(self, image: np.ndarray, strength: float) -> np.ndarray:
        deviation = strength * noise_level(image)
        if deviation == 0:
            return image
        return self.filter_slice(image.astype(np.float64), deviation).astype(np.float32)


class Bm3d(ClassicalDenoiser):
    """Block matching and 3-D filtering, by one of the library's profiles: "np" as published, "high" slower and finer.

    "vn" is for strong noise; "refilter" repeats the filter on its residue.
    """

    needs_package = "bm3d"  # its licence keeps it out of an ordinary installation

    def __init__(
        self,
        *,
        strength: float = 1.0,
        grid: tuple[float, ...] = (0.5, 1, 1.5, 2, 3, 4),
        profile: Literal["np", "refilter", "vn", "high"] = "np",
    ) -> None:
        super().__init__(strength, grid)
        self.profile = profile

    def filter_slice(self, image: np.ndarray, deviation: float) -> np.ndarray:
        bm3d = _library(self.needs_package)
        names = {"np": "", "refilter": "Refilter", "vn": "VN", "high": "High"}
        profile = getattr(bm3d, f"BM3DProfile{names[self.profile]}")()
        profile.num_threads = 1  # with more, results differ from run to run, and two calls at once abort or hang
        return bm3d.bm3d(image, deviation, profile=profile)


class NonLocalMeans(ClassicalDenoiser):
    """Mean over pixels whose surroundings are alike: squares of `patch_size` up to `patch_distance` pixels away."""

    def __init__(
        self,
        *,
        strength: float = 1.0,
        grid: tuple[float, ...] = (0.4, 0.6, 0.8, 1, 1.5, 2, 3),
        patch_size: int = 5,
        patch_distance: int = 8,
    ) -> None:
        super().__init__(strength, grid)
        self.patch_size, self.patch_distance = patch_size, patch_distance

    def filter_slice(self, image: np.ndarray, deviation: float) -> np.ndarray:
        return restoration.denoise_nl_means(
            image, self.patch_size, self.patch_distance, h=deviation, fast_mode=True, preserve_range=True
        )


class TotalVariation(ClassicalDenoiser):
    """The image u that minimises ‖u − image‖²/2 + deviation · TV(u), by Chambolle's projection."""

    def __init__(
        self,
        *,
        strength: float = 1.0,
        grid: tuple[float, ...] = (0.25, 0.5, 0.75, 1, 1.5, 2, 3),
        tolerance: float = 2e-4,
        iterations: int = 200,
    ) -> None:
        super().__init__(strength, grid)
        self.tolerance, self.iterations = tolerance, iterations

    def filter_slice(self, image: np.ndarray, deviation: float) -> np.ndarray:
        return restoration.denoise_tv_chambolle(image, deviation, eps=self.tolerance, max_num_iter=self.iterations)


class Bilateral(ClassicalDenoiser):
    """Mean over a square of `window` pixels, weighted by distance (sd `spatial_sigma`) and by difference in value."""

    def __init__(
        self,
        *,
        strength: float = 2.0,
        grid: tuple[float, ...] = (1, 1.5, 2, 3, 4, 6),
        spatial_sigma: float = 1.5,
        window: int = 9,
    ) -> None:
        super().__init__(strength, grid)
        self.spatial_sigma, self.window = spatial_sigma, window

    def filter_slice(self, image: np.ndarray, deviation: float) -> np.ndarray:
        # Not scikit-image's: for odd windows its table of spatial weights (0.26) is a row and a column too large, and
        # so lies askew over the pixels.
        reach = self.window // 2
        padded = np.pad(image, reach, mode="edge")
        total, weights = np.zeros_like(image), np.zeros_like(image)
        for down, right in product(range(self.window), repeat=2):
            neighbour = padded[down : down + image.shape[0], right : right + image.shape[1]]
            distance = ((down - reach) ** 2 + (right - reach) ** 2) / self.spatial_sigma**2
            weight = np.exp(-(distance + ((neighbour - image) / deviation) ** 2) / 2)
            total += weight * neighbour
            weights += weight
        return total / weights


def _library(package: str) -> ModuleType:
    try:
        return import_module(package)
    except ImportError as error:
        fault = "BM3D needs the package bm3d, which is licensed for non-commercial use only"
        raise UsageError(None, fault, "install ldctpipe[bm3d] if that is yours") from error

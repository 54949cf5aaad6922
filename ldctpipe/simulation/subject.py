"""Something in the scanner whose noise-free image is known: how many quanta it takes, and its noise at two doses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe.simulation.flux import current_factors
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.noise import NoiseModel, dose_noise
from ldctpipe.simulation.randomness import slice_deviates
from ldctpipe.simulation.workers import each_slice

_CENTRAL_SHARE = 0.4


@dataclass(frozen=True)
class Subject:
    """What lies in the scanner: its name, pixel grid, heights in mm (ascending), and half width and depth in mm."""

    name: str
    size: int
    pixel_mm: float
    positions_mm: tuple[float, ...]
    thickness_mm: float
    increment_mm: float
    half_axes_mm: tuple[float, float]

    def affine(self) -> npt.NDArray[np.float64]:
        """Return the map from (column, row, slice, 1) to RAS millimetres."""
        edge_mm = (self.size - 1) / 2 * self.pixel_mm
        matrix = np.diag([-self.pixel_mm, -self.pixel_mm, self.increment_mm, 1.0])
        matrix[:3, 3] = edge_mm, edge_mm, self.positions_mm[0]
        return matrix

    def central(self) -> npt.NDArray[np.bool_]:
        """Return which pixels lie in the middle of the subject."""
        line = (np.arange(self.size) - (self.size - 1) / 2) * self.pixel_mm
        width, depth = self.half_axes_mm
        inside: npt.NDArray[np.bool_] = (line[None] / width) ** 2 + (line[:, None] / depth) ** 2 < _CENTRAL_SHARE
        return inside


def exposed_model(
    subject: Subject,
    hu: Image,
    model: NoiseModel,
    wanted_sd_hu: float,
    seed: int,
    trials: int = 1,
    lowest_hu: float = 0.0,
) -> NoiseModel:
    """Return `model` with the quanta that give a slice `hu` the noise `wanted_sd_hu`, like exposure control.

    The noise is that of pixels between `lowest_hu` and 150 HU in the middle of the subject, as an average over
    `trials` realisations.
    """
    transmitted = model.transmitted(torch.from_numpy(hu[None]))
    tissue = (hu > lowest_hu) & (hu < 150) & subject.central()
    variances = []
    for trial in range(trials):
        name = subject.name if trial == 0 else f"{subject.name} {trial}"
        deviates = slice_deviates(seed, name, [0.0], None)
        noise = dose_noise(transmitted, model, 1.0, deviates, [0], np.ones(1), present_dose=None, purpose="exposure")
        variances.append(float(noise.hu[0].numpy()[tissue].var()))
    return model.with_quanta(model.quanta * float(np.mean(variances)) / wanted_sd_hu**2)


def scan(
    subject: Subject,
    truth: Image,
    model: NoiseModel,
    current_ma: Sequence[int],
    dose: float,
    seed: int,
    threads: int | None = None,
) -> tuple[Image, Image]:
    """Return the slices at full dose and at `dose`, float32 HU; the second is the first with the noise to add."""
    deviates = slice_deviates(seed, subject.name, subject.positions_mm, subject.thickness_mm)
    current = current_factors(list(current_ma), len(truth))

    def make(index: int) -> tuple[Image, Image]:
        transmitted = model.transmitted(torch.from_numpy(truth[index][None]))
        place = deviates, [index], current
        own = dose_noise(transmitted, model, 1.0, *place, present_dose=None, purpose="full dose")
        added = dose_noise(transmitted, model, dose, *place, purpose="low dose")
        full = truth[index] + own.hu[0].numpy()
        return full, full + added.hu[0].numpy()

    made = list(each_slice(make, range(len(truth)), threads))
    return np.stack([full for full, _ in made]), np.stack([low for _, low in made])

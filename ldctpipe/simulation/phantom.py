"""A phantom patient as a stack of slices: which anatomy, which heights, and the sharpness of a scanner."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.fft

from ldctpipe.simulation.abdomen import Abdomen
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.inserts import Insert
from ldctpipe.simulation.pelvis import Pelvis
from ldctpipe.simulation.randomness import generator
from ldctpipe.simulation.shapes import Canvas, Mark
from ldctpipe.simulation.thorax import Thorax
from ldctpipe.simulation.tissue import Tissue
from ldctpipe.simulation.torso import Build
from ldctpipe.simulation.workers import each_slice

_PIXELS_OF_FULL_SIZE = 512
_SUBSLICES = 2


class Anatomy(Protocol):
    """A body that can be cut at any height."""

    @property
    def build(self) -> Build:
        """Size of the body."""

    @property
    def inserts(self) -> tuple[Insert, ...]:
        """Lesions of known place."""

    @property
    def tissue(self) -> Tissue:
        """Materials and pixel grid."""

    def render(self, z: float) -> Canvas:
        """Return the slice at height `z`, not blurred."""


@dataclass(frozen=True)
class PhantomPatient:
    """One patient: anatomy, pixel size, and the heights of the slices in mm (ascending)."""

    name: str
    region: str
    seed: int
    size: int
    pixel_mm: float
    positions_mm: tuple[float, ...]
    thickness_mm: float
    anatomy: Anatomy


def make_patient(
    name: str, number: int, seed: int, slices: int, size: int, thickness_mm: float, increment_mm: float
) -> PhantomPatient:
    """Return patient `number` (from 0) of the cohort `seed`; regions of the body take turns."""
    region = tuple(_REGIONS)[number % len(_REGIONS)]
    draw, lowest_mm, highest_mm = _REGIONS[region]
    random = generator(seed, "patient", number)
    own_seed = int(random.integers(2**62))
    middle = float(random.uniform(lowest_mm, highest_mm))
    positions = tuple(round(middle + (i - (slices - 1) / 2) * increment_mm, 3) for i in range(slices))
    anatomy = draw(own_seed, size, positions[0], positions[-1])
    return PhantomPatient(name, region, own_seed, size, anatomy.tissue.pixel_mm, positions, thickness_mm, anatomy)


_Draw = Callable[[int, int, float, float], Anatomy]
# How each region is drawn, and between which heights the middle of its scan lies, in mm of that anatomy.
_REGIONS: dict[str, tuple[_Draw, float, float]] = {
    "thorax": (Thorax.draw, -45.0, 35.0),
    "abdomen": (Abdomen.draw, -30.0, 15.0),
    "pelvis": (Pelvis.draw, -10.0, 60.0),
}


@dataclass(frozen=True)
class FoundInsert:
    """A lesion that can be seen: the slice, row and column of its middle."""

    insert: Insert
    slice_index: int
    row: int
    column: int


def noise_free_slices(
    patient: PhantomPatient, cutoff_per_mm: float, threads: int | None, done: Callable[[], None] = lambda: None
) -> tuple[Image, list[FoundInsert]]:
    """Return the patient as a scanner without noise sees it, and the lesions that can be found in it.

    The slices are float32 HU of shape (slices, size, size). Each is the mean over its thickness, blurred with the
    apodisation of the kernel that the noise has too. `done` is called after each slice.
    """

    def make(z: float) -> tuple[Image, list[Mark]]:
        hu, marks = _thick_slice(patient, z)
        return blur(hu, patient.pixel_mm, cutoff_per_mm), marks

    slices, marks_of_slices = [], []
    for hu, marks in each_slice(make, patient.positions_mm, threads):
        slices.append(hu)
        marks_of_slices.append(marks)
        done()
    return np.stack(slices), _found(patient, marks_of_slices)


def _thick_slice(patient: PhantomPatient, z: float) -> tuple[Image, list[Mark]]:
    offsets = ((i + 0.5) / _SUBSLICES - 0.5 for i in range(_SUBSLICES))
    parts = [patient.anatomy.render(z + offset * patient.thickness_mm) for offset in offsets]
    mean: Image = np.mean([part.hu for part in parts], axis=0, dtype=np.float32)
    return mean, [mark for part in parts for mark in part.marks]


def _found(patient: PhantomPatient, marks_of_slices: Sequence[Sequence[Mark]]) -> list[FoundInsert]:
    nearest: dict[int, tuple[Mark, int]] = {}
    for index, marks in enumerate(marks_of_slices):
        for mark in marks:
            if mark.share > 0.5 and (mark.number not in nearest or mark.offset_mm < nearest[mark.number][0].offset_mm):
                nearest[mark.number] = (mark, index)
    inserts = patient.anatomy.inserts
    return [FoundInsert(inserts[n], index, mark.row, mark.column) for n, (mark, index) in sorted(nearest.items())]


def blur(image: Image, pixel_mm: float, cutoff_per_mm: float) -> Image:
    """Return `image` under a Hann window in frequency that ends at `cutoff_per_mm`: the resolution of that kernel."""
    down, across = scipy.fft.fftfreq(image.shape[0], pixel_mm), scipy.fft.rfftfreq(image.shape[1], pixel_mm)
    frequency = np.hypot(down[:, None], across[None]).astype(np.float32)
    response = 0.5 * (1 + np.cos(math.pi * np.minimum(frequency / np.float32(cutoff_per_mm), 1)))
    blurred: Image = scipy.fft.irfft2(scipy.fft.rfft2(image) * response, s=image.shape).astype(np.float32)
    return blurred


def tube_currents_ma(patient: PhantomPatient) -> Sequence[int]:
    """Return the tube current of each slice: more for thicker patients, as automatic exposure control does."""
    current_ma = 200 * math.exp(0.5 * 0.0192 * (patient.anatomy.build.effective_diameter_mm - 280))
    return [max(20, round(current_ma)) for _ in patient.positions_mm]

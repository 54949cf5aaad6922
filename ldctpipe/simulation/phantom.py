"""A phantom patient as a stack of slices: which anatomy, which heights, and the sharpness of a scanner."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import scipy.fft

from ldctpipe.simulation.abdomen import Abdomen
from ldctpipe.simulation.arms import LIMBS
from ldctpipe.simulation.head import Head
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.inserts import Insert
from ldctpipe.simulation.pelvis import Pelvis
from ldctpipe.simulation.phantom_choices import Arms, BodySize
from ldctpipe.simulation.physique import Physique, draw_physique
from ldctpipe.simulation.randomness import generator
from ldctpipe.simulation.shapes import Canvas, Mark
from ldctpipe.simulation.subject import Subject
from ldctpipe.simulation.thorax import Thorax
from ldctpipe.simulation.tissue import Tissue
from ldctpipe.simulation.workers import each_slice

_SUBSLICES = 2


class Outline(Protocol):
    """BodySize of a body, in mm of its anatomy."""

    @property
    def half_width(self) -> float:
        """Half the width."""

    @property
    def half_depth(self) -> float:
        """Half the depth, front to back."""

    @property
    def effective_diameter_mm(self) -> float:
        """Diameter of the circle with the same area (AAPM TG-204)."""


class Anatomy(Protocol):
    """A body that can be cut at any height."""

    @property
    def build(self) -> Outline:
        """BodySize of the body."""

    @property
    def inserts(self) -> tuple[Insert, ...]:
        """Lesions of known place."""

    @property
    def tissue(self) -> Tissue:
        """Materials and pixel grid."""

    def render(self, z: float) -> Canvas:
        """Return the slice at height `z`, not blurred."""


_Draw = Callable[[int, int, float, float, Physique], Anatomy]


@dataclass(frozen=True)
class Region:
    """A part of the body: how it is drawn and scanned.

    The middle of a scan lies between `lowest_mm` and `highest_mm` of the anatomy. `sd_hu` is the range of the noise
    in soft tissue at full dose, `current_ma` the tube current for an effective diameter of 280 mm.
    """

    draw: _Draw
    lowest_mm: float
    highest_mm: float
    body_part: str
    sd_hu: tuple[float, float]
    current_ma: float = 200.0
    bow_tie: str = "large"


# Noise in the liver that agrees with RMSE 14.24 HU between the quarter and full dose of Mayo patient L506.
_BODY_SD_HU = (11.7, 13.1)
REGIONS = {
    "thorax": Region(Thorax.draw, -45.0, 35.0, "CHEST", _BODY_SD_HU),
    "abdomen": Region(Abdomen.draw, -30.0, 15.0, "ABDOMEN", _BODY_SD_HU),
    "pelvis": Region(Pelvis.draw, -10.0, 60.0, "PELVIS", _BODY_SD_HU),
    "head": Region(Head.draw, 15.0, 60.0, "HEAD", (3.6, 4.6), 600.0, "small"),
}
TRUNK = ("thorax", "abdomen", "pelvis")


@dataclass(frozen=True)
class PhantomPatient:
    """One patient: anatomy, how much smaller it is than it is drawn, and how it lies in the scanner."""

    subject: Subject
    region: str
    seed: int
    build: BodySize
    scale: float
    arms_down: bool
    anatomy: Anatomy


def make_patient(
    name: str,
    number: int,
    seed: int,
    slices: int,
    size: int,
    thickness_mm: float,
    increment_mm: float,
    *,
    regions: Sequence[str] = TRUNK,
    build: BodySize = BodySize.ADULT,
    arms: Arms = Arms.UP,
) -> PhantomPatient:
    """Return patient `number` (from 0) of the cohort `seed`; `regions` of the body take turns."""
    name_of_region = regions[number % len(regions)]
    region = REGIONS[name_of_region]
    random = generator(seed, "patient", number)
    own_seed = int(random.integers(2**62))
    build, physique = draw_physique(generator(seed, "physique", number), build, arms)
    if name_of_region not in LIMBS:
        physique = replace(physique, arms_down=False)
    scale = physique.head_scale if name_of_region == "head" else physique.scale
    middle = scale * float(random.uniform(region.lowest_mm, region.highest_mm))
    positions = tuple(round(middle + (i - (slices - 1) / 2) * increment_mm, 3) for i in range(slices))
    anatomy = region.draw(own_seed, size, positions[0] / scale, positions[-1] / scale, physique)
    half_axes_mm = scale * anatomy.build.half_width, scale * anatomy.build.half_depth
    pixel_mm = scale * anatomy.tissue.pixel_mm
    subject = Subject(name, size, pixel_mm, positions, thickness_mm, increment_mm, half_axes_mm)
    return PhantomPatient(subject, name_of_region, own_seed, build, scale, physique.arms_down, anatomy)


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
        return blur(hu, patient.subject.pixel_mm, cutoff_per_mm), marks

    slices, marks_of_slices = [], []
    for hu, marks in each_slice(make, patient.subject.positions_mm, threads):
        slices.append(hu)
        marks_of_slices.append(marks)
        done()
    return np.stack(slices), _found(patient, marks_of_slices)


def _thick_slice(patient: PhantomPatient, z: float) -> tuple[Image, list[Mark]]:
    offsets = ((i + 0.5) / _SUBSLICES - 0.5 for i in range(_SUBSLICES))
    parts = [patient.anatomy.render((z + offset * patient.subject.thickness_mm) / patient.scale) for offset in offsets]
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
    diameter_mm = patient.scale * patient.anatomy.build.effective_diameter_mm
    current_ma = REGIONS[patient.region].current_ma * math.exp(0.5 * 0.0192 * (diameter_mm - 280))
    return [max(20, round(current_ma)) for _ in patient.subject.positions_mm]

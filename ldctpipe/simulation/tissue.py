"""The materials of a phantom: HU with texture, the same in every organ of one patient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ldctpipe.simulation.images import Image
from ldctpipe.simulation.randomness import generator
from ldctpipe.simulation.shapes import Canvas
from ldctpipe.simulation.texture import Band, Field, PowerLaw

_FIELDS_KEPT = 48


@dataclass(frozen=True)
class Enhancement:
    """Mean HU of what takes up contrast medium."""

    liver_hu: float
    spleen_hu: float
    cortex_hu: float
    medulla_hu: float
    artery_hu: float
    vein_hu: float
    bowel_wall_hu: float

    @classmethod
    def draw(cls, random: np.random.Generator) -> Enhancement:
        """Return a native (one in four) or portal-venous phase with the spread between patients."""
        spread = random.normal(0.0, 1.0, 7)
        if random.random() < 0.25:
            mean, sd = (58, 50, 35, 33, 42, 40, 38), (6, 3, 3, 3, 3, 3, 4)
        else:
            mean, sd = (108, 120, 185, 150, 165, 150, 85), (10, 10, 15, 15, 20, 15, 12)
        return cls(*(m + s * d for m, s, d in zip(mean, sd, spread, strict=True)))


@dataclass(frozen=True)
class Tissue:
    """Random fields and materials of one patient on a grid of `size` × `size` pixels."""

    seed: int
    size: int
    pixel_mm: float
    muscle_hu: float
    fat_hu: float
    trabecular_hu: float
    cortical_hu: float
    lung_hu: float
    offset_x: float
    offset_y: float
    scale: float = 1.0
    bend_mm: float = 5.0

    @classmethod
    def draw(
        cls, seed: int, size: int, pixel_mm: float, scale: float = 1.0, bone_density: float = 1.0, bend_mm: float = 5.0
    ) -> Tissue:
        """Return the tissue of the patient `seed`; `pixel_mm` is that of the anatomy before it is scaled."""
        random = generator(seed, "tissue")
        muscle_hu, fat_hu = random.normal(56, 5), random.normal(-104, 5)
        trabecular_hu, cortical_hu = random.uniform(140, 260), bone_density * random.uniform(750, 1050)
        lung_hu = random.uniform(-890, -820)
        offset_x, offset_y = random.normal(0, 4, 2)
        materials = muscle_hu, fat_hu, trabecular_hu, cortical_hu, lung_hu
        return cls(seed, size, pixel_mm, *materials, offset_x, offset_y, scale, bend_mm)

    def _field(self, name: str, spectrum: PowerLaw | Band, depth_mm: float) -> Field:
        return Field(name, self.seed, self.size, self.pixel_mm, spectrum, depth_mm)

    @cached_property
    def _fields(self) -> dict[str, Field]:
        return {
            "tissue": self._field("tissue", PowerLaw(3.0, 60.0), 8.0),
            "grain": self._field("grain", PowerLaw(2.0, 6.0), 4.0),
            "strands": self._field("strands", Band(14.0, 0.6), 14.0),
            "patches": self._field("patches", Band(45.0, 0.5), 40.0),
            "gyri": self._field("gyri", Band(21.0, 0.35), 22.0),
            "bulges": self._field("bulges", Band(32.0, 0.6), 30.0),
            "bend_x": self._field("bend_x", Band(230.0, 0.4), 150.0),
            "bend_y": self._field("bend_y", Band(230.0, 0.4), 150.0),
            "ripple_x": self._field("ripple_x", Band(38.0, 0.5), 35.0),
            "ripple_y": self._field("ripple_y", Band(38.0, 0.5), 35.0),
        }

    def field(self, name: str, z: float) -> Image:
        """Return the field `name` (mean 0, standard deviation 1) at height `z`."""
        return _field_at(self._fields[name], z)

    def canvas(self, z: float) -> Canvas:
        """Return an empty slice of air whose coordinates are bent, so that no contour is a perfect ellipse."""
        line = ((np.arange(self.size) - (self.size - 1) / 2) * self.pixel_mm).astype(np.float32)
        ripple_mm = 0.9 * (self.bend_mm / 5.0)
        shift_x = self.bend_mm * self.field("bend_x", z)
        shift_y = self.bend_mm * self.field("bend_y", z)
        x = line[None] - np.float32(self.offset_x) + shift_x + ripple_mm * self.field("ripple_x", z)
        y = line[:, None] - np.float32(self.offset_y) + shift_y + ripple_mm * self.field("ripple_y", z)
        return Canvas(np.full((self.size, self.size), -1000, np.float32), x, y, z, self.pixel_mm)

    def straight_mm(self) -> tuple[Image, Image]:
        """Return x and y in real millimetres, not bent and not scaled, for what is no part of the body."""
        line = (np.arange(self.size, dtype=np.float32) - (self.size - 1) / 2) * self.pixel_mm
        x, y = line[None] - self.offset_x, line[:, None] - self.offset_y
        return x * self.scale, y * self.scale

    def soft(self, mean_hu: float, z: float, sd_hu: float = 5.0) -> Image:
        """Return parenchyma of `mean_hu`: power-law texture with a fine grain."""
        return np.float32(mean_hu) + sd_hu * (0.8 * self.field("tissue", z) + 0.6 * self.field("grain", z))

    def strands(self, z: float, width: float = 0.13) -> Image:
        """Return a web of thin sheets, 0 to 1, dense in patches: septa in fat, fat planes in muscle."""
        web = np.exp(-((self.field("strands", z) / np.float32(width)) ** 2))
        return web * np.clip(0.25 + 0.6 * self.field("patches", z), 0.0, 1.0)

    def fat(self, z: float) -> Image:
        """Return fat with septa and small vessels."""
        return self.soft(self.fat_hu, z, 5.0) + 55.0 * self.strands(z)

    def muscle(self, z: float) -> Image:
        """Return muscle with fat planes between its bundles."""
        return self.soft(self.muscle_hu, z, 6.0) - 75.0 * self.strands(-z - 500.0, 0.12)

    def marrow(self, z: float) -> Image:
        """Return trabecular bone."""
        return np.float32(self.trabecular_hu) + 25.0 * self.field("tissue", z) + 45.0 * self.field("grain", z)

    def paint_bone(self, canvas: Canvas, distance: Image, cortex_mm: float = 1.6) -> None:
        """Paint a bone: a cortical shell of `cortex_mm` around trabecular bone."""
        canvas.paint(distance, self.cortical_hu + 60.0 * self.field("tissue", canvas.z))
        canvas.paint(distance + cortex_mm * (1.0 + 0.25 * self.field("bulges", canvas.z)), self.marrow(canvas.z), 0.6)


@lru_cache(maxsize=_FIELDS_KEPT)
def _field_at(field: Field, z: float) -> Image:
    values = field.at(z)
    values.setflags(write=False)
    return values

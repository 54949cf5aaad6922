"""The brain: cortex folded into sulci, white matter, deep nuclei, ventricles, cerebellum and brainstem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ldctpipe.simulation.images import Image
from ldctpipe.simulation.inserts import Insert, paint_inserts, scatter_inside
from ldctpipe.simulation.shapes import Canvas, Ellipsoid, Tube, inside_both, union
from ldctpipe.simulation.tissue import Tissue

CSF_HU = 7.0
_SIDES = (-1, 1)
_SULCUS_SLOPE_PER_MM = 0.3  # how steeply the folding field crosses zero
_SULCUS_DEPTH_MM = 15.0
_CORTEX_MM = 3.0
# Deep grey matter of the left side, mirrored on the right: centre, half axes, turn.
_NUCLEI = (
    ((13.0, -27.0, 34.0), (5.0, 10.0, 11.0), 12.0),
    ((23.0, -8.0, 27.0), (7.0, 17.0, 11.0), -14.0),
    ((10.5, 9.0, 29.0), (9.0, 14.0, 10.0), 18.0),
)
# The lateral ventricle of the left side: points of its horns and body with radii.
_HORN = ((5.0, -36.0, 36.0), (9.0, -24.0, 42.0), (12.0, 0.0, 48.0), (15.0, 22.0, 44.0), (24.0, 38.0, 34.0))
_HORN_RADII_MM = (3.6, 5.0, 5.4, 6.4, 6.2)
_TEMPORAL_HORN = ((24.0, 38.0, 34.0), (31.0, 20.0, 12.0), (30.0, 0.0, 0.0))


@dataclass(frozen=True)
class Brain:
    """The brain of one patient; `atrophy` widens ventricles and sulci (1: middle-aged)."""

    atrophy: float
    grey_hu: float
    white_hu: float
    ventricles: tuple[Tube, ...]
    fissures: tuple[Tube, ...]
    stem: Tube
    cerebellum: tuple[Ellipsoid, ...]
    inserts: tuple[Insert, ...]

    @classmethod
    def draw(cls, random: np.random.Generator, low_z: float, high_z: float) -> Brain:
        """Return a brain with lesions between the heights `low_z` and `high_z`."""
        atrophy = float(random.uniform(0.7, 1.35))
        radii = [atrophy * radius for radius in _HORN_RADII_MM]
        ventricles, fissures = [], []
        for side in _SIDES:
            mirror = np.array([side, 1.0, 1.0]) * random.uniform(0.94, 1.06, 3)
            ventricles.append(Tube.chain(np.array(_HORN) * mirror, radii))
            ventricles.append(Tube.chain(np.array(_TEMPORAL_HORN) * mirror, [radii[-1], 2.6 * atrophy, 1.8 * atrophy]))
            sylvian = np.array([(64.0, -22.0, 12.0), (50.0, -14.0, 18.0), (42.0, 4.0, 26.0), (58.0, 22.0, 40.0)])
            fissures.append(Tube.chain(sylvian * mirror, 1.9 * atrophy))
        return cls(
            atrophy,
            float(random.normal(38.0, 1.0)),
            float(random.normal(28.5, 1.0)),
            tuple(ventricles),
            tuple(fissures),
            Tube.chain([(0, 3, 6), (0, 1, -8), (0, 8, -26), (0, 16, -60)], [11.5, 13.5, 9.0, 6.5]),
            tuple(Ellipsoid((x, 44, -12), (half, 30, 25), 2.2, x) for x, half in ((-24, 27), (0, 17), (24, 27))),
            _lesions(random, low_z, high_z),
        )

    def paint(self, canvas: Canvas, cavity: Image, vault: Image, tissue: Tissue) -> None:
        """Paint fluid into `cavity`, and the brain into the fluid; `vault` is the distance to the bone beside it."""
        canvas.paint(cavity, tissue.soft(CSF_HU, canvas.z, 1.0))
        surface = cavity + 1.6 * self.atrophy + 0.5 * tissue.field("bulges", canvas.z)
        folds = self._sulci(canvas, vault, tissue)
        self._paint_cerebrum(canvas, surface, folds, tissue)
        self._paint_hindbrain(canvas, surface, tissue)
        self._paint_falx(canvas, cavity)
        share = canvas.coverage(inside_both(surface + 3.0, -folds))
        paint_inserts(canvas, self.inserts, share)

    def _sulci(self, canvas: Canvas, vault: Image, tissue: Tissue) -> Image:
        """Return the distance to the fluid between the folds, which reach some way in and narrow with depth."""
        crease = np.abs(tissue.field("gyri", canvas.z)) / np.float32(_SULCUS_SLOPE_PER_MM)
        depth_mm = _SULCUS_DEPTH_MM + 5.0 * tissue.field("bulges", canvas.z + 210)
        narrowing = np.clip(1.0 + vault / np.maximum(depth_mm, 6.0), 0.0, 1.0)
        creases = np.where(narrowing > 0, crease - 0.8 * self.atrophy * narrowing, 9.0 - 9.0 * narrowing)
        creases = np.maximum(creases, -vault - depth_mm)
        beside_callosum = 46.0 - np.hypot(canvas.y, canvas.z - 30.0)
        midline = np.maximum(np.abs(canvas.x) - 0.9 * self.atrophy, beside_callosum)
        return union([creases, midline, *(tube.distance(canvas) for tube in self.fissures)])

    def _paint_cerebrum(self, canvas: Canvas, surface: Image, folds: Image, tissue: Tissue) -> None:
        z = canvas.z
        brain = np.maximum(surface, -folds)
        canvas.paint(brain, tissue.soft(self.grey_hu, z, 1.5))
        ripple = 0.8 * tissue.field("bulges", z + 330)
        canvas.paint(brain + _CORTEX_MM + ripple, tissue.soft(self.white_hu, z, 1.2), 1.5)
        nuclei = [
            Ellipsoid((side * x, y, height), axes, 2.0, side * turn).distance(canvas)
            for (x, y, height), axes, turn in _NUCLEI
            for side in _SIDES
        ]
        canvas.paint(np.maximum(union(nuclei), surface), tissue.soft(self.grey_hu, z, 1.5), 1.5)
        third = Ellipsoid((0, 4, 24), (1.8 * self.atrophy, 13, 9), 2.0).distance(canvas)
        canvas.paint(union([third, *(tube.distance(canvas) for tube in self.ventricles)], 2.0), CSF_HU, 0.5)
        for centre, radius in (((0, 25, 26), 2.2), ((22, 37, 33), 2.4), ((-22, 37, 33), 2.4)):
            calcified = Ellipsoid(centre, (radius, radius, radius)).distance(canvas)
            canvas.paint(calcified, 170.0, 1.0)

    def _paint_hindbrain(self, canvas: Canvas, surface: Image, tissue: Tissue) -> None:
        stem = self.stem.distance(canvas)
        canvas.paint(np.maximum(stem - 3.0, np.maximum(surface, canvas.z - 14.0)), CSF_HU + 3, 1.0)
        lobes = union([lobe.distance(canvas) for lobe in self.cerebellum], 10.0)
        lobes = np.maximum(lobes, surface)
        canvas.paint(np.maximum(lobes - 1.2, surface), CSF_HU + 4, 1.0)
        folia = 1.2 * np.abs(tissue.field("strands", 3 * canvas.z + 77))
        canvas.paint(lobes + 0.5 * folia, tissue.soft(self.grey_hu - 1, canvas.z, 2.0))
        canvas.paint(lobes + 11.0 + 3 * folia, tissue.soft(self.white_hu + 1, canvas.z, 1.5), 2.0)
        canvas.paint(stem, tissue.soft(self.white_hu + 3, canvas.z, 1.5))
        fourth = Ellipsoid((0, 24, -10), (6.5 * self.atrophy, 4.0, 11), 2.2).distance(canvas)
        canvas.paint(fourth, CSF_HU)

    def _paint_falx(self, canvas: Canvas, cavity: Image) -> None:
        reach = 34.0 if canvas.z < 70 else 60.0
        sheet = np.maximum(np.abs(canvas.x) - 0.5, np.maximum(-cavity - reach, 30.0 - canvas.z))
        canvas.blend(0.9 * canvas.coverage(np.maximum(sheet, cavity)), 55.0)


def _lesions(random: np.random.Generator, low_z: float, high_z: float) -> tuple[Insert, ...]:
    kinds = (("haemorrhage", 22.0, 36.0, 3.0, 9.0), ("infarct", -14.0, -7.0, 5.0, 14.0), ("mass", 7.0, 14.0, 3.0, 9.0))
    inserts = []
    for side in _SIDES:
        hemisphere = Ellipsoid((side * 34, 2, 42), (22, 58, 55))
        for place in scatter_inside(hemisphere, random, 2, low_z, high_z, 0.8):
            kind, lowest_hu, highest_hu, smallest, biggest = kinds[int(random.integers(len(kinds)))]
            contrast_hu, radius_mm = random.uniform(lowest_hu, highest_hu), random.uniform(smallest, biggest)
            inserts.append(Insert(kind, tuple(map(float, place)), float(radius_mm), float(contrast_hu)))
    return tuple(inserts)

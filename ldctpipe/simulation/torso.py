"""What every region of the trunk shares: build, skin, fat, muscle wall, spine, ribs, and the table below."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ldctpipe.simulation.arms import ROOM_FOR_ARM_MM
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.physique import ADULT, Physique
from ldctpipe.simulation.shapes import Canvas, Ellipsoid, Tube, inside_both, union, without
from ldctpipe.simulation.tissue import Tissue

ENDLESS_MM = 1e5
WIDEST_FIELD_OF_VIEW_MM = 500.0


@dataclass(frozen=True)
class Build:
    """Size of a patient's trunk in mm. The middle of the body is at x = y = 0."""

    half_width: float
    half_depth: float
    fat: float
    wall: float
    squareness: float
    spine_y: float
    vertebra: float
    disc_phase: float
    field_of_view: float

    @classmethod
    def draw(
        cls, random: np.random.Generator, vertebra: float, widening: float = 1.0, physique: Physique = ADULT
    ) -> Build:
        """Return a slim to stout body of `physique`; `vertebra` is the height of a vertebra with its disc."""
        stoutness = random.uniform(0.0, 1.0)
        slim, growth = physique.half_width_mm
        half_width = widening * (slim + growth * stoutness + random.normal(0, 4))
        slim, growth = physique.half_depth_mm
        half_depth = slim + growth * stoutness + random.normal(0, 4)
        slim, growth = physique.fat_mm
        fat = slim + growth * stoutness * random.uniform(0.7, 1.2)
        spine_y = half_depth - 0.8 * fat - random.uniform(50, 56)
        squareness, phase = random.uniform(2.2, 2.6), random.uniform(0, 1)
        field_of_view = max(300.0, 2 * half_width * random.uniform(1.08, 1.17))
        if physique.arms_down:
            field_of_view = max(field_of_view, 2 * (half_width + ROOM_FOR_ARM_MM))
        field_of_view = min(field_of_view, WIDEST_FIELD_OF_VIEW_MM / physique.scale)
        return cls(
            half_width, half_depth, fat, random.uniform(13, 18), squareness, spine_y, vertebra, phase, field_of_view
        )

    @property
    def effective_diameter_mm(self) -> float:
        """Diameter of the circle with the same area (AAPM TG-204)."""
        return 2 * math.sqrt(self.half_width * self.half_depth)

    @property
    def spinous_end_y(self) -> float:
        """How far back spinous processes may reach without coming near the skin in the furrow along the spine."""
        return self.half_depth - 14.0

    def skin(self, canvas: Canvas) -> Image:
        """Return the distance to the body's surface, with the furrow along the spine."""
        half_axes = (self.half_width, self.half_depth, ENDLESS_MM)
        body = Ellipsoid((0, 0, canvas.z), half_axes, self.squareness).distance(canvas)
        furrow = Ellipsoid((0, self.half_depth + 12, canvas.z), (34, 17, ENDLESS_MM)).distance(canvas)
        return without(body, furrow)

    def muscle_wall(self, canvas: Canvas) -> Image:
        """Return the distance to the outside of the muscles, below the subcutaneous fat."""
        front, back, side = 0.9 * self.fat, 1.1 * self.fat, 1.0 * self.fat
        half_axes = (self.half_width - side, self.half_depth - (front + back) / 2, ENDLESS_MM)
        wall = Ellipsoid((0, (front - back) / 2, canvas.z), half_axes, self.squareness + 0.1).distance(canvas)
        furrow = Ellipsoid((0, self.half_depth - back + 8, canvas.z), (26, 14, ENDLESS_MM)).distance(canvas)
        return without(wall, furrow)

    @property
    def cavity_width(self) -> float:
        """Half width of the cavity inside the muscle wall."""
        return self.half_width - self.fat - self.wall

    @property
    def cavity_depth(self) -> float:
        """Half depth of the cavity inside the muscle wall."""
        return self.half_depth - self.fat - 0.75 * self.wall

    def cavity(self, canvas: Canvas) -> Image:
        """Return the distance to the cavity inside the muscle wall."""
        half_axes = (self.cavity_width, self.cavity_depth, ENDLESS_MM)
        return Ellipsoid((0, -0.1 * self.wall, canvas.z), half_axes, self.squareness + 0.2).distance(canvas)


def paint_table(canvas: Canvas, build: Build, tissue: Tissue) -> None:
    """Paint the table: two thin curved shells around foam. It does not bend with the body."""
    x, y = tissue.straight_mm()
    top = tissue.scale * (build.half_depth + 7) - x * x / np.float32(1900)
    inside = np.abs(x) - 178
    depth = y - top
    foam = np.maximum(np.maximum(-depth, depth - 26), inside) / tissue.scale
    canvas.paint(foam, -260.0)
    canvas.paint(foam + 1.6 / tissue.scale, -935.0)


def paint_layers(canvas: Canvas, build: Build, tissue: Tissue) -> Image:
    """Paint skin, subcutaneous fat and the muscle wall with its layers; return the distance to the cavity."""
    skin, wall = build.skin(canvas), build.muscle_wall(canvas)
    cavity = build.cavity(canvas) + 2.0 * tissue.field("patches", canvas.z)
    muscle = tissue.muscle(canvas.z)
    canvas.paint(skin, 45.0)
    canvas.paint(skin + 1.8, tissue.fat(canvas.z))
    canvas.paint(wall, muscle)
    bulge = tissue.field("bulges", canvas.z)
    for depth_share in (0.34, 0.67):
        seam = np.abs(wall + build.wall * depth_share + 1.5 * bulge) - 0.5
        sides = canvas.coverage(np.abs(canvas.y) - 0.62 * build.half_depth, 12.0)
        canvas.blend(0.75 * sides * canvas.coverage(seam, 0.5), tissue.fat_hu + 20.0)
    return cavity


def paint_back_muscles(canvas: Canvas, build: Build, tissue: Tissue, psoas_mm: float) -> None:
    """Paint the muscles along the spine, wrapped in thin fat; `psoas_mm` is the radius of the psoas (0: none)."""
    behind = build.spine_y + 32
    pieces = [Ellipsoid((side * 33, behind, canvas.z), (27, 20, ENDLESS_MM), 2.4, side * 12) for side in (-1, 1)]
    pieces += [Ellipsoid((side * 66, behind - 9, canvas.z), (20, 12, ENDLESS_MM), 2.2, side * -25) for side in (-1, 1)]
    if psoas_mm > 0:
        half = (psoas_mm, 1.2 * psoas_mm, ENDLESS_MM)
        pieces += [
            Ellipsoid((side * (27 + psoas_mm), build.spine_y - 2, canvas.z), half, 2.2, side * -20) for side in (-1, 1)
        ]
    muscle = tissue.muscle(canvas.z)
    within = build.muscle_wall(canvas) + 1.0
    for piece in pieces:
        distance = inside_both(piece.distance(canvas), within)
        canvas.paint(distance, tissue.fat_hu + 15)
        canvas.paint(distance + 1.4, muscle)


@dataclass(frozen=True)
class Spine:
    """A column of vertebrae and discs with their arches, centred at x = 0."""

    y: float
    height: float
    phase: float
    half_width: float
    half_depth: float
    transverse: float
    spinous_end_y: float

    @classmethod
    def of(cls, build: Build, half_width: float, half_depth: float, transverse: float) -> Spine:
        """Return the spine of a body, with vertebrae of the size that its region has."""
        place = build.spine_y, build.vertebra, build.disc_phase
        return cls(*place, half_width, half_depth, transverse, build.spinous_end_y)

    def paint(self, canvas: Canvas, tissue: Tissue) -> None:
        """Paint the vertebra or disc at this height, the canal with its sac, and the arch behind."""
        level = (canvas.z / self.height + self.phase) % 1.0 - 0.5
        flare = 1.0 + 0.5 * max(0.0, abs(level) - 0.15)
        canal = self._canal(canvas)
        body = Ellipsoid((0, self.y, canvas.z), (self.half_width * flare, self.half_depth * flare, ENDLESS_MM), 2.4)
        distance = without(body.distance(canvas), canal + 1.0)
        if abs(level) > 0.41:
            canvas.paint(distance, tissue.soft(95.0, canvas.z, 8.0))
        else:
            plate = math.exp(-(((abs(level) - 0.40) / 0.025) ** 2))
            tissue.paint_bone(canvas, distance, 1.1 + 2.5 * plate)
            canvas.blend(0.5 * plate * canvas.coverage(distance + 1), 650.0)
        self._paint_arch(canvas, tissue, level, canal)

    def _canal(self, canvas: Canvas) -> Image:
        centre = (0.0, self.y + self.half_depth + 6.5, canvas.z)
        return Ellipsoid(centre, (11.5, 9.0, ENDLESS_MM), 2.2).distance(canvas)

    def _paint_arch(self, canvas: Canvas, tissue: Tissue, level: float, canal: Image) -> None:
        back = self.y + self.half_depth
        z0 = canvas.z - level * self.height
        lamina = Ellipsoid((0, back + 8.5, canvas.z), (18, 15, ENDLESS_MM), 2.2).distance(canvas)
        pieces = [lamina] if abs(level + 0.05) < 0.33 else []
        for side in (-1, 1):
            facet = Ellipsoid((side * 18, back + 13, z0 - 0.46 * self.height), (7, 8, 12)).distance(canvas)
            wing = Tube.chain([(side * 14, back + 7, z0), (side * self.transverse, back + 13, z0 + 3)], [5.0, 3.2])
            pieces += [facet, wing.distance(canvas, 0.6)]
            facet = Ellipsoid((side * 18, back + 13, z0 + 0.54 * self.height), (7, 8, 12)).distance(canvas)
            pieces.append(facet)
        spinous = [(0, back + 20, z0 - 2), (0, min(back + 46, self.spinous_end_y), z0 - 10)]
        pieces.append(Tube.chain(spinous, [3.4, 4.2]).distance(canvas, 0.45))
        tissue.paint_bone(canvas, without(union(pieces, 2.0), canal), 1.8)
        canvas.paint(canal, tissue.fat_hu + 40)
        canvas.paint(canal + 2.2, 28.0, 1.0)
        cord = Ellipsoid((0, back + 6.5, canvas.z), (5.5, 4.2, ENDLESS_MM)).distance(canvas)
        canvas.paint(cord, 42.0, 1.0)


@dataclass(frozen=True)
class Ribs:
    """Ribs of both sides, each a curve that starts beside the spine and sinks towards the front."""

    tubes: tuple[Tube, ...]

    @classmethod
    def draw(
        cls,
        random: np.random.Generator,
        half_width: float,
        half_depth: float,
        y: float,
        heights: Image,
        reach_deg: float,
    ) -> Ribs:
        """Return ribs on an elliptic cage that leave the spine at `heights` and end `reach_deg` around it."""
        tubes = []
        for height in heights:
            drop = random.uniform(70, 95)
            angles = np.deg2rad(np.linspace(16, reach_deg + random.uniform(-12, 6), 34))
            z = height - drop * (1 - np.cos(angles)) / 2 - 6 * np.sin(angles)
            y_path = y + half_depth * np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** 0.9
            radius = random.uniform(3.4, 4.2)
            for side in (-1, 1):
                x = side * half_width * np.sin(angles) ** 0.9
                tubes.append(Tube.chain(np.stack([x, y_path, z], axis=1), radius))
        return cls(tuple(tubes))

    def distance(self, canvas: Canvas) -> Image:
        """Return the distance to the nearest rib."""
        return union(tube.distance(canvas, 0.6) for tube in self.tubes)

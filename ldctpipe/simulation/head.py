"""The head: scalp, skull with two tables and diploe, skull base, orbits, sinuses, brain, and the holder below."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ldctpipe.simulation.brain import Brain
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.inserts import Insert
from ldctpipe.simulation.physique import ADULT, Physique
from ldctpipe.simulation.randomness import generator
from ldctpipe.simulation.shapes import Canvas, Ellipsoid, Tube, inside_both, union
from ldctpipe.simulation.tissue import Tissue

_SIDES = (-1, 1)
_AIR_HU = -985.0
_INFANT_BONE_DENSITY = 0.6
# Air spaces in bone: centre, half axes, and how much of them septa fill. Those beside the middle are mirrored.
_SINUSES = (
    ((0.0, -60.0, -4.0), (12.0, 23.0, 14.0), 0.5),
    ((6.0, -28.0, -8.0), (8.0, 11.0, 10.0), 0.0),
    ((11.0, -81.0, 20.0), (10.0, 4.5, 10.0), 0.0),
    ((29.0, -55.0, -38.0), (15.0, 17.0, 17.0), 0.0),
    ((54.0, 30.0, -16.0), (11.0, 15.0, 18.0), 1.0),
)


@dataclass(frozen=True)
class HeadSize:
    """Size of the head in mm, its middle at x = y = 0; `sinuses` says how far these have grown (1: adult)."""

    half_width: float
    half_depth: float
    skull_mm: float
    sinuses: float
    field_of_view: float

    @property
    def effective_diameter_mm(self) -> float:
        """Diameter of the circle with the same area (AAPM TG-220)."""
        return 2 * math.sqrt(self.half_width * self.half_depth)


@dataclass(frozen=True)
class Head:
    """The head of one patient; z = 0 is the height of the orbits' middle, the crown lies at about z = 115."""

    build: HeadSize
    tissue: Tissue
    brain: Brain

    @classmethod
    def draw(cls, seed: int, size: int, low_z: float, high_z: float, physique: Physique = ADULT) -> Head:
        """Return the patient `seed`, with lesions between the heights `low_z` and `high_z`."""
        random = generator(seed, "head")
        half_width, half_depth = random.normal(77, 2.5), random.normal(96, 3)
        maturity = (physique.bone_density - _INFANT_BONE_DENSITY) / (1.0 - _INFANT_BONE_DENSITY)
        thickness, sinuses = random.uniform(5.5, 8.0) * (0.45 + 0.55 * maturity), 0.45 + 0.55 * maturity
        build = HeadSize(half_width, half_depth, thickness, sinuses, random.uniform(232, 252))
        field_of_view = build.field_of_view / size
        return cls(
            build,
            Tissue.draw(seed, size, field_of_view, physique.head_scale, physique.bone_density, bend_mm=2.2),
            Brain.draw(random, max(low_z, 10.0), min(high_z, 95.0)),
        )

    @property
    def inserts(self) -> tuple[Insert, ...]:
        """Lesions of known place."""
        return self.brain.inserts

    def render(self, z: float) -> Canvas:
        """Return the slice at height `z`, not blurred."""
        canvas = self.tissue.canvas(z)
        self._paint_holder(canvas)
        skull = self._cranium(canvas)
        skin = self._paint_soft_parts(canvas, skull)
        floor = self._floor(canvas)
        self._paint_face(canvas, skin)
        cavity, vault = self._paint_skull(canvas, skull, floor)
        self.brain.paint(canvas, cavity, vault, self.tissue)
        self._paint_petrous(canvas, skull)
        for side in _SIDES:
            self._paint_orbit(canvas, side, skin)
        self._paint_air(canvas, skin)
        return canvas

    def _cranium(self, canvas: Canvas) -> Image:
        """Return the distance to the outer table: narrower at the forehead, rounder at the back."""
        width, depth = self.build.half_width - 6.5, self.build.half_depth - 6.5
        vault = Ellipsoid((0, 0, 18), (width, depth, 96), 2.2).distance(canvas)
        temples = 7.0 * np.clip((-canvas.y - 0.35 * depth) / depth, 0, 1) * np.clip(np.abs(canvas.x) / width, 0, 1)
        return vault + temples + 0.25 * self.tissue.field("bulges", canvas.z)

    def _paint_soft_parts(self, canvas: Canvas, skull: Image) -> Image:
        """Paint scalp, face and neck as far as they are fat and muscle; return the distance to the skin."""
        z, width, depth = canvas.z, self.build.half_width, self.build.half_depth
        face = Ellipsoid((0, -0.36 * depth, -38), (0.84 * width, 0.62 * depth, 74), 2.3).distance(canvas)
        neck = Ellipsoid((0, 0.1 * depth, -80), (0.78 * width, 0.72 * depth, 84), 2.3).distance(canvas)
        nose = Ellipsoid((0, -0.95 * depth, -30), (11, 17, 22), 2.0).distance(canvas)
        skin = union([skull - 6.5, face, neck, nose], 14.0)
        ears = [Ellipsoid((side * (width + 3), 14, -10), (4, 15, 27), 2.2, side * 16) for side in _SIDES]
        for ear in ears:
            rim = ear.distance(canvas) + self.tissue.field("ripple_x", z)
            canvas.paint(rim, 0.0, 1.0)
        canvas.paint(skin, 45.0)
        canvas.paint(skin + 2.0, self.tissue.fat(z))
        for side in _SIDES:
            temporalis = Ellipsoid((side * (width - 4), -0.22 * depth, 2), (9, 0.33 * depth, 46), 2.2, side * -8)
            canvas.paint(inside_both(temporalis.distance(canvas), skin + 3), self.tissue.muscle(z))
        deep = np.maximum(skin + 9 + 2 * self.tissue.field("bulges", z + 30), z + 4.0)
        canvas.paint(deep, self.tissue.muscle(z), 1.5)
        pads = np.maximum(deep + 3, 2.0 - 3.0 * self.tissue.field("patches", 2 * z))
        canvas.paint(pads, self.tissue.fat(z), 2.0)
        pharynx = Ellipsoid((0, -14, -52), (10, 6, 30), 2.2).distance(canvas)
        canvas.paint(pharynx, _AIR_HU)
        return skin

    def _floor(self, canvas: Canvas) -> Image:
        """Return the height of the skull base at every pixel: fossae in front, beside and behind, and the sella."""
        x, y = np.abs(canvas.x), canvas.y
        front = _step(-38.0 - y, 14.0)
        behind = _step(y - 6.0 - 0.45 * (x - 15.0), 12.0) * (1 - front)
        beside = 1.0 - front - behind
        ridge = np.exp(-(((y - 4.0 - 0.45 * (x - 15.0)) / 7.0) ** 2)) * _step(x - 10.0, 6.0)
        sella = np.exp(-((x / 13.0) ** 2) - ((y + 20.0) / 18.0) ** 2) * (1 - front)
        orbits = 6.0 * np.exp(-(((x - 31.0) / 17.0) ** 2)) + 9.0
        temples = 12.0 * np.minimum(((x - 40.0) / 26.0) ** 2, 1.0) - 20.0
        nape = 20.0 * ((x / 52.0) ** 2 + ((y - 42.0) / 44.0) ** 2) - 44.0
        floor = front * orbits + beside * temples + behind * nape + 20.0 * ridge + 9.0 * sella
        return floor + self.tissue.field("bulges", 900.0)

    def _paint_skull(self, canvas: Canvas, skull: Image, floor: Image) -> tuple[Image, Image]:
        """Paint vault and base; return the distances to the cavity and, without its floor, to the inside."""
        thickness = self.build.skull_mm + 0.6 * self.tissue.field("bulges", canvas.z + 60)
        above_base = (floor - 5.0 - canvas.z) * 0.7
        bone = np.maximum(skull, above_base)
        cavity = np.maximum(skull + thickness, (floor - canvas.z) * 0.7)
        foramen = Ellipsoid((0, 16, -45), (15, 17, 40), 2.2).distance(canvas)
        cavity = union([cavity, np.maximum(foramen, skull + thickness)])
        self.tissue.paint_bone(canvas, bone, 0.27 * self.build.skull_mm)
        canvas.paint(cavity - 0.25 * self.build.skull_mm, self.tissue.cortical_hu)
        return cavity, np.maximum(skull + thickness, 3.0 * (floor - canvas.z))

    def _paint_petrous(self, canvas: Canvas, skull: Image) -> None:
        for side in _SIDES:
            pyramid = Tube.chain([(side * 20, -4, -14), (side * 40, 14, -13), (side * 58, 26, -14)], [6, 10, 15])
            bone = np.maximum(pyramid.distance(canvas), skull)
            canvas.paint(bone, 1.1 * self.tissue.cortical_hu + 120 * self.tissue.field("grain", canvas.z))
            ear = Tube.chain([(side * 38, 12, -14), (side * 90, 13, -14)], [3.2, 3.6])
            canvas.paint(ear.distance(canvas), _AIR_HU)

    def _paint_face(self, canvas: Canvas, skin: Image) -> None:
        """Paint the bones and the air of the face below the orbits: cheeks, jaw, nose."""
        z = canvas.z
        within = skin + 6.0
        cheeks = [Ellipsoid((side * 34, -60, -34), (22, 24, 26), 2.4, side * -20) for side in _SIDES]
        bones = union([inside_both(cheek.distance(canvas), within) for cheek in cheeks], 3.0)
        arches = [
            Tube.chain([(side * 44, -62, -16), (side * 66, -34, -18), (side * 66, -4, -16)], 3.6) for side in _SIDES
        ]
        jaws = [Tube.chain([(side * 52, -8, -24), (side * 50, -14, -75)], [6.5, 5.0]) for side in _SIDES]
        for piece in (*arches, *jaws):
            bones = union([bones, piece.distance(canvas)], 2.0)
        self.tissue.paint_bone(canvas, bones, 1.4)
        nose = Ellipsoid((0, -66, -36), (11, 30, 22), 2.3).distance(canvas)
        canvas.paint(nose - 2.0, 300.0)
        canvas.paint(np.maximum(nose, -within + 4), 45.0)
        turbinates = np.abs(np.abs(canvas.x) - 5.5 - 1.2 * self.tissue.field("bulges", z)) - 2.0
        canvas.paint(np.maximum(nose + 1, turbinates), _AIR_HU)

    def _paint_orbit(self, canvas: Canvas, side: int, skin: Image) -> None:
        depth = self.build.half_depth
        x, front = side * 31.0, -depth + 17.0
        cone = Tube.chain([(x, front - 4, 0), (x, front + 16, 0), (side * 14, front + 42, 1)], [20, 17, 4])
        socket = np.maximum(cone.distance(canvas), skin + 3.5)
        canvas.paint(np.maximum(cone.distance(canvas) - 2.2, skin + 7), 550.0)
        canvas.paint(socket, self.tissue.fat_hu + 8)
        apex = (side * 15, front + 40, 1)
        nerve = Tube.chain([(x - side * 2, front + 12, 0), apex], 2.2).distance(canvas)
        muscles = [
            Tube.chain([(x + dx, front + 8, dz), apex], [2.0, 1.8]).distance(canvas)
            for dx, dz in ((-13, 0), (13, 0), (0, 12), (0, -12))
        ]
        canvas.paint(inside_both(union([nerve, *muscles]), socket), 45.0, 0.5)
        globe = Ellipsoid((x, front, 0), (12.2, 12.2, 12.2)).distance(canvas)
        canvas.paint(globe, 55.0)
        canvas.paint(globe + 1.3, 12.0)
        lens = Ellipsoid((x, front - 8.5, 0), (4.3, 1.9, 4.3)).distance(canvas)
        canvas.paint(lens, 75.0)

    def _paint_air(self, canvas: Canvas, skin: Image) -> None:
        septa = self.tissue.field("strands", 2 * canvas.z + 140)
        for (x, y, z), axes, filling in _SINUSES:
            for side in _SIDES if x else (1,):
                centre = (side * x, y, z)
                a, b, c = (self.build.sinuses * axis for axis in axes)
                space = Ellipsoid(centre, (a, b, c), 2.4).distance(canvas) + 1.2 * self.tissue.field("bulges", canvas.z)
                space = np.maximum(space, skin + 7.0)
                canvas.paint(space - 1.4, 650.0)
                cells = np.maximum(space, 1.8 * filling - 2.2 * np.abs(septa)) if filling else space
                canvas.paint(cells, _AIR_HU)

    def _paint_holder(self, canvas: Canvas) -> None:
        """Paint the cup that the head lies in: a carbon shell around foam, open in front."""
        x, y = self.tissue.straight_mm()
        scale = self.tissue.scale
        width, depth = scale * self.build.half_width + 16, scale * self.build.half_depth + 13
        radius = np.hypot(x / width, y / depth)
        outside = (radius - 1.0) * depth
        opening = (0.25 * depth - y).astype(np.float32)
        shell = np.maximum(np.maximum(outside, -outside - 2.4), opening) / scale
        foam = np.maximum(outside + 2.4, 0.45 * depth - y) / scale
        canvas.paint(foam, -955.0)
        canvas.paint(shell, -150.0)


def _step(distance: Image, width: float) -> Image:
    """Return 0 far below and 1 far above `distance` 0, with a soft edge."""
    step: Image = np.clip(0.5 + distance / width, 0.0, 1.0)
    return step

"""The chest: lungs with vessels, bronchi, fissures and nodules, heart and great vessels, shoulder blades."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ldctpipe.simulation.arms import PlacedArm, draw_arms
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.inserts import Insert, paint_inserts, scatter_inside
from ldctpipe.simulation.physique import ADULT, Physique
from ldctpipe.simulation.randomness import generator
from ldctpipe.simulation.shapes import Canvas, Ellipsoid, Tube, inside_both, union, without
from ldctpipe.simulation.tissue import Enhancement, Tissue
from ldctpipe.simulation.torso import (
    ENDLESS_MM,
    Build,
    Ribs,
    Spine,
    paint_back_muscles,
    paint_layers,
    paint_table,
)
from ldctpipe.simulation.vessels import tree

Point = tuple[float, float, float]

_SIDES = (-1, 1)


@dataclass(frozen=True)
class Thorax:
    """The chest of one patient; z = 0 is the height of the hila, the heart lies below and the aortic arch above."""

    build: Build
    tissue: Tissue
    phase: Enhancement
    spine: Spine
    ribs: Ribs
    scapulae: tuple[Tube, ...]
    heart: Ellipsoid
    chambers: tuple[Ellipsoid, ...]
    arteries: tuple[Tube, ...]
    veins: tuple[Tube, ...]
    coronaries: Tube
    lung_vessels: tuple[Tube, Tube]
    bronchi: tuple[Tube, Tube]
    trachea: Tube
    inserts: tuple[Insert, ...]
    arms: tuple[PlacedArm, ...]

    @classmethod
    def draw(cls, seed: int, size: int, low_z: float, high_z: float, physique: Physique = ADULT) -> Thorax:
        """Return the patient `seed`, with detail between the heights `low_z` and `high_z`."""
        random = generator(seed, "thorax")
        build = Build.draw(random, vertebra=25.0, widening=1.04, physique=physique)
        w, d = build.cavity_width, build.cavity_depth
        heart = Ellipsoid((0.2 * w, -0.28 * d, -52), (0.47 * w, 0.52 * d, 66), 2.1, -28 + random.normal(0, 5))
        lungs = [Ellipsoid((side * 0.56 * w, 0, -10), (0.42 * w, 0.85 * d, 170), 2.3) for side in _SIDES]
        hila = [(side * 0.3 * w, -0.02 * d, float(random.normal(0, 4))) for side in _SIDES]
        heights = np.arange(low_z - 40, high_z + 170, 26.0)
        return cls(
            build,
            Tissue.draw(seed, size, build.field_of_view / size, physique.scale, physique.bone_density),
            Enhancement.draw(random),
            Spine.of(build, random.uniform(16, 19), random.uniform(14, 16), 36),
            Ribs.draw(random, w + 7, d + 6, 4.0, heights, 150),
            _scapulae(random, w, d, low_z, high_z),
            heart,
            _chambers(heart, w, d),
            _arteries(random, build),
            _veins(w, d, build),
            tree((0.1 * w, -0.4 * d, -5), scatter_inside(heart, random, 26, -100, 10, 0.98), 0.9, random, 0.4),
            _lung_trees(random, lungs, hila, low_z, high_z, density_mm=8.5, leaf_mm=0.42),
            _lung_trees(random, lungs, hila, low_z, high_z, density_mm=46.0, leaf_mm=1.3),
            _trachea(random, hila, build),
            _nodules(random, lungs, low_z, high_z),
            draw_arms(seed, "thorax", build.half_width) if physique.arms_down else (),
        )

    def render(self, z: float) -> Canvas:
        """Return the slice at height `z`, not blurred."""
        canvas = self.tissue.canvas(z)
        paint_table(canvas, self.build, self.tissue)
        for arm in self.arms:
            arm.paint(canvas, self.tissue)
        cavity = paint_layers(canvas, self.build, self.tissue)
        self._paint_shoulders(canvas, cavity)
        canvas.paint(cavity, self.tissue.fat(z))
        paint_back_muscles(canvas, self.build, self.tissue, 0.0)
        middle = self._mediastinum(canvas)
        lungs = self._paint_lungs(canvas, cavity, middle)
        self._paint_heart(canvas)
        self._paint_vessels_and_airways(canvas, lungs)
        self.spine.paint(canvas, self.tissue)
        self.tissue.paint_bone(canvas, self.ribs.distance(canvas), 1.3)
        self._paint_sternum(canvas)
        return canvas

    def _paint_shoulders(self, canvas: Canvas, cavity: Image) -> None:
        muscle = self.tissue.muscle(canvas.z)
        wall = self.build.muscle_wall(canvas)
        for tube in self.scapulae:
            around = inside_both(tube.distance(canvas) - 9.0, wall + 1)
            canvas.paint(around, self.tissue.fat_hu + 12)
            canvas.paint(around + 1.5, muscle)
            self.tissue.paint_bone(canvas, without(tube.distance(canvas), cavity), 1.4)

    def _paint_sternum(self, canvas: Canvas) -> None:
        front = -self.build.half_depth + self.build.fat + 0.6 * self.build.wall
        plate = Ellipsoid((0, front, canvas.z), (19, 6.5, ENDLESS_MM), 2.6).distance(canvas)
        self.tissue.paint_bone(canvas, plate + 0.6 * self.tissue.field("bulges", canvas.z), 1.0)

    def _mediastinum(self, canvas: Canvas) -> Image:
        w, d = self.build.cavity_width, self.build.cavity_depth
        column = Ellipsoid((0.03 * w, -0.1 * d, canvas.z), (0.25 * w, 0.85 * d, ENDLESS_MM), 2.3)
        spine = Ellipsoid((0, self.build.spine_y + 8, canvas.z), (27, 26, ENDLESS_MM), 2.3)
        parts = [column.distance(canvas), spine.distance(canvas), self.heart.distance(canvas) - 5.0]
        return union(parts, 14.0)

    def _paint_lungs(self, canvas: Canvas, cavity: Image, middle: Image) -> Image:
        dome = Ellipsoid((-0.45 * self.build.cavity_width, -4, -165), (85, 80, 75), 2.2).distance(canvas)
        lungs = np.maximum(np.maximum(cavity + 1.5, -middle), -dome)
        gravity = 45.0 * canvas.y / self.build.half_depth
        texture = 16.0 * self.tissue.field("tissue", canvas.z) + 26.0 * self.tissue.field("grain", canvas.z)
        air = np.float32(self.tissue.lung_hu) + gravity + texture
        patches = np.clip(self.tissue.field("patches", canvas.z + 300) - 1.2, 0, 1)
        canvas.paint(lungs, air + 160.0 * patches)
        slope = 0.55 if canvas.z < 30 else 0.4
        for side in _SIDES:
            height = canvas.y * slope + canvas.z * 1.1 + side * 14 + 3.0 * self.tissue.field("bulges", canvas.z)
            fissure = np.maximum(np.abs(height) - 0.35, -side * canvas.x)
            canvas.blend(0.5 * canvas.coverage(fissure) * canvas.coverage(lungs + 1), -650.0)
        canvas.paint(dome, self.tissue.soft(self.phase.liver_hu, canvas.z))
        return lungs

    def _paint_heart(self, canvas: Canvas) -> None:
        outside = self.heart.distance(canvas) + 0.9 * self.tissue.field("bulges", canvas.z)
        canvas.paint(outside - 1.5, self.tissue.soft(15.0, canvas.z, 4.0))
        canvas.paint(outside, self.tissue.fat(canvas.z))
        muscle = outside + 4.0 + 1.0 * self.tissue.field("bulges", canvas.z + 77)
        canvas.paint(muscle, self.tissue.soft(self.phase.bowel_wall_hu + 15, canvas.z))
        for chamber, hu in zip(self.chambers, (0.95, 0.85, 1.0, 0.9), strict=True):
            inner = inside_both(
                chamber.distance(canvas) + 2.0 * self.tissue.field("bulges", canvas.z + 150), muscle + 3
            )
            canvas.paint(inner, self.tissue.soft(hu * self.phase.artery_hu, canvas.z, 4.0), 1.0)
        canvas.blend(
            canvas.coverage(outside - 1) * canvas.coverage(self.coronaries.distance(canvas)), self.phase.artery_hu
        )

    def _paint_vessels_and_airways(self, canvas: Canvas, lungs: Image) -> None:
        for tubes, hu in ((self.veins, self.phase.vein_hu), (self.arteries, self.phase.artery_hu)):
            for tube in tubes:
                distance = tube.distance(canvas) + 0.8 * self.tissue.field("bulges", canvas.z)
                canvas.paint(distance, 50.0)
                canvas.paint(distance + 1.1, self.tissue.soft(hu, canvas.z, 3.0))
        gullet = Ellipsoid((8, self.build.spine_y - 27, canvas.z), (8.5, 6, ENDLESS_MM)).distance(canvas)
        canvas.paint(gullet, 45.0)
        canvas.paint(gullet + 4.5, -300.0, 1.0)
        airy = canvas.coverage(lungs)
        for bronchi in self.bronchi:
            distance = bronchi.distance(canvas)
            canvas.blend(airy * canvas.coverage(distance - 0.9), -60.0)
            canvas.blend(airy * canvas.coverage(distance), -960.0)
        for vessels in self.lung_vessels:
            canvas.blend(airy * canvas.coverage(vessels.distance(canvas)), 0.5 * self.phase.vein_hu + 20)
        paint_inserts(canvas, self.inserts, canvas.coverage(lungs + 1))
        trachea = self.trachea.distance(canvas)
        canvas.paint(trachea - 1.6, 40.0)
        canvas.paint(trachea, -990.0)


def _scapulae(random: np.random.Generator, w: float, d: float, low_z: float, high_z: float) -> tuple[Tube, ...]:
    tubes = []
    for side in _SIDES:
        tilt = random.uniform(-4, 4)
        for z in np.arange(low_z - 20, high_z + 20, 7.0):
            start = (side * (0.58 * w + tilt), 0.9 * d + 8, z)
            end = (side * (0.95 * w + 10), 0.5 * d + 14, z)
            tubes.append(Tube.chain([start, ((start[0] + end[0]) / 2 + 3, 0.78 * d + 12, z), end], [2.6, 3.0, 5.0]))
    merged = Tube(
        np.concatenate([tube.points for tube in tubes]),
        np.concatenate([tube.radii for tube in tubes]),
        np.concatenate([tube.links + 3 * number for number, tube in enumerate(tubes)]),
    )
    return (merged,)


def _chambers(heart: Ellipsoid, w: float, d: float) -> tuple[Ellipsoid, ...]:
    x, y, z = heart.centre
    return (
        Ellipsoid((x + 0.17 * w, y + 0.06 * d, z - 8), (0.19 * w, 0.26 * d, 46), 2.0, -30),
        Ellipsoid((x - 0.02 * w, y - 0.25 * d, z - 6), (0.24 * w, 0.17 * d, 46), 2.0, -20),
        Ellipsoid((x - 0.08 * w, y + 0.36 * d, z + 22), (0.24 * w, 0.16 * d, 32), 2.0, 0),
        Ellipsoid((x - 0.32 * w, y + 0.0 * d, z + 8), (0.14 * w, 0.25 * d, 38), 2.0, -10),
    )


def _arteries(random: np.random.Generator, build: Build) -> tuple[Tube, ...]:
    radius = random.uniform(11, 13.5)
    back, front = build.spine_y - 16, build.spine_y - 82
    descending = [(24, back, -220), (25, back - 3, 0), (22, back - 6, 45), (14, back - 28, 62)]
    ascending = [
        (2, front + 10, -20),
        (-16, front, 10),
        (-14, front + 4, 40),
        (-4, front + 24, 60),
        (14, back - 28, 62),
    ]
    pulmonary = [(18, front + 2, -22), (20, front + 6, 2), (10, front + 26, 10), (-30, front + 40, 4)]
    left = [(20, front + 8, 4), (34, front + 34, 12), (44, front + 50, 8)]
    return (
        Tube.chain(descending, [radius, radius + 1, radius + 1.5, radius + 1.5]),
        Tube.chain(ascending, [15, 16.5, 16, 14.5, radius + 1.5]),
        Tube.chain(pulmonary, [14, 14, 11, 8]),
        Tube.chain(left, [12, 10, 8]),
    )


def _veins(w: float, d: float, build: Build) -> tuple[Tube, ...]:
    front = build.spine_y - 82
    upper = Tube.chain([(-32, front + 18, -5), (-33, front + 16, 40), (-30, front + 8, 110)], [10, 9.5, 9])
    azygos = Tube.chain(
        [(-10, build.spine_y - 19, -200), (-11, build.spine_y - 20, 40), (-28, front + 30, 50)], [3.5, 4, 4.5]
    )
    pulmonary = [
        Tube.chain([(0.1 * w + side * 12, front + 52, -22), (side * 0.36 * w, front + 58, -20)], [7, 5.5])
        for side in _SIDES
    ]
    return (upper, azygos, *pulmonary)


def _lung_trees(
    random: np.random.Generator,
    lungs: list[Ellipsoid],
    hila: list[Point],
    low_z: float,
    high_z: float,
    density_mm: float,
    leaf_mm: float,
) -> tuple[Tube, Tube]:
    """Return a tree for each lung with one twig in every cube of `density_mm`."""
    trees = []
    for lung, hilum in zip(lungs, hila, strict=True):
        low, high = max(low_z - 35, -170), min(high_z + 35, 150)
        a, b, _ = lung.half_axes
        count = max(8, round(np.pi * a * b * (high - low) / density_mm**3))
        root = (hilum[0], hilum[1], float(np.clip(hilum[2], low, high)))
        trees.append(tree(root, scatter_inside(lung, random, count, low, high, 1.0), leaf_mm, random, 0.38))
    return trees[0], trees[1]


def _trachea(random: np.random.Generator, hila: list[Point], build: Build) -> Tube:
    y, radius = build.spine_y - 36, random.uniform(7.5, 9.5)
    top, carina = (random.uniform(-4, 4), y - 4, 160), (0, y, 38)
    ends = [(0.8 * x, y_end, z + 8) for x, y_end, z in hila]
    points = np.array([top, carina, *ends], dtype=np.float32)
    radii = np.array([radius, radius, 0.62 * radius, 0.58 * radius], dtype=np.float32)
    return Tube(points, radii, np.array([[0, 1], [1, 2], [1, 3]], dtype=np.int32))


def _nodules(random: np.random.Generator, lungs: list[Ellipsoid], low_z: float, high_z: float) -> tuple[Insert, ...]:
    nodules = []
    for lung in lungs:
        for place in scatter_inside(lung, random, 3, low_z, high_z, 0.8):
            solid = random.random() < 0.65
            contrast_hu = random.uniform(800, 930) if solid else random.uniform(150, 350)
            kind = "solid nodule" if solid else "ground-glass nodule"
            radius_mm = random.uniform(1.5, 5) if solid else random.uniform(4, 9)
            nodules.append(Insert(kind, tuple(map(float, place)), float(radius_mm), float(contrast_hu)))
    return tuple(nodules)

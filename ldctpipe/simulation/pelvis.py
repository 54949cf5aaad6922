"""The pelvis: iliac wings, sacrum, hips, gluteal muscles, bladder, rectum, iliac vessels, bowel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ldctpipe.simulation.bowel import Loop, draw_loops, paint_loop
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.inserts import Insert, paint_inserts, scatter_inside
from ldctpipe.simulation.physique import ADULT, Physique
from ldctpipe.simulation.randomness import generator
from ldctpipe.simulation.shapes import Canvas, Ellipsoid, Tube, inside_both, union, without
from ldctpipe.simulation.tissue import Enhancement, Tissue
from ldctpipe.simulation.torso import ENDLESS_MM, Build, paint_layers, paint_table
from ldctpipe.simulation.vessels import tree

_SIDES = (-1, 1)
_WING_STEP_MM = 6.0


@dataclass(frozen=True)
class Pelvis:
    """The pelvis of one patient; z = 0 is the height of the hip sockets' roof, the wings rise to z = 100."""

    build: Build
    tissue: Tissue
    phase: Enhancement
    wings: Tube
    hip_x: float
    hip_y: float
    sacrum_y: float
    bladder: Ellipsoid
    bladder_hu: float
    gland: Ellipsoid
    rectum: Loop
    vessels: tuple[Tube, Tube]
    fat_vessels: Tube
    loops: tuple[Loop, ...]
    inserts: tuple[Insert, ...]

    @classmethod
    def draw(cls, seed: int, size: int, low_z: float, high_z: float, physique: Physique = ADULT) -> Pelvis:
        """Return the patient `seed`, with detail between the heights `low_z` and `high_z`."""
        random = generator(seed, "pelvis")
        build = Build.draw(random, vertebra=32.0, widening=physique.hips, physique=physique)
        w, d = build.cavity_width, build.cavity_depth
        hip_x, hip_y, sacrum_y = 0.62 * w, 0.12 * d, build.spine_y + 8
        bladder = Ellipsoid((random.normal(0, 4), -0.32 * d, -8), (0.36 * w, 0.34 * d, 46), 2.3)
        gland = Ellipsoid((0, 0.12 * d, 2), (0.24 * w, 0.17 * d, 30), 2.2)
        return cls(
            build,
            Tissue.draw(seed, size, build.field_of_view / size, physique.scale, physique.bone_density),
            Enhancement.draw(random),
            _wings(random, hip_x, hip_y, sacrum_y, d),
            hip_x,
            hip_y,
            sacrum_y,
            bladder,
            float(random.choice([4.0, 8.0, 150.0])),
            gland,
            _rectum(random, sacrum_y, low_z, high_z),
            (_iliac(random, hip_x, d, 1.0, 6.0), _iliac(random, hip_x, d, 1.22, 7.0)),
            _fat_vessels(random, w, d, low_z, high_z),
            draw_loops(random, build, max(low_z, 35.0), max(high_z, 60.0), 7, 0.62),
            _lesions(random, gland, low_z, high_z),
        )

    def render(self, z: float) -> Canvas:
        """Return the slice at height `z`, not blurred."""
        canvas = self.tissue.canvas(z)
        paint_table(canvas, self.build, self.tissue)
        cavity = paint_layers(canvas, self.build, self.tissue)
        canvas.paint(cavity, self.tissue.fat(z))
        canvas.paint(inside_both(self.fat_vessels.distance(canvas), cavity), self.phase.vein_hu)
        self._paint_muscles(canvas)
        self._paint_organs(canvas, cavity)
        self._paint_sacrum(canvas)
        self._paint_hips(canvas)
        return canvas

    def _paint_muscles(self, canvas: Canvas) -> None:
        muscle = self.tissue.muscle(canvas.z)
        within = self.build.muscle_wall(canvas) + 1.0
        w, d, z = self.build.cavity_width, self.build.cavity_depth, canvas.z
        for side in _SIDES:
            maximus = Ellipsoid((side * 0.6 * w, 0.78 * d, z), (0.5 * w, 0.28 * d, ENDLESS_MM), 2.3, -side * 32)
            medius = Ellipsoid((side * 0.98 * w, 0.12 * d, z), (0.2 * w, 0.5 * d, ENDLESS_MM), 2.3, side * 10)
            psoas = Ellipsoid((side * 0.5 * w, -0.22 * d + 0.1 * z, z), (0.17 * w, 0.2 * d, ENDLESS_MM), 2.1, side * 25)
            iliacus = Ellipsoid((side * 0.66 * w, 0.02 * d, z), (0.12 * w, 0.36 * d, ENDLESS_MM), 2.1, side * 28)
            inner = Ellipsoid((side * 0.44 * w, 0.18 * d, z), (0.06 * w, 0.34 * d, ENDLESS_MM), 2.2, -side * 14)
            groups = (maximus, medius, psoas, iliacus) if z > 12 else (maximus, medius, psoas, inner)
            for group in groups:
                distance = inside_both(group.distance(canvas) + 1.5 * self.tissue.field("bulges", z), within)
                canvas.paint(distance, self.tissue.fat_hu + 8)
                canvas.paint(distance + 1.8, muscle)

    def _paint_organs(self, canvas: Canvas, cavity: Image) -> None:
        bladder = self.bladder.distance(canvas) + 2.0 * self.tissue.field("bulges", canvas.z)
        if canvas.z > 22:
            away = inside_both(cavity, -bladder - 4)
            for loop in self.loops:
                paint_loop(canvas, loop, away, self.tissue, self.phase)
        gland = self.gland.distance(canvas) + 1.5 * self.tissue.field("bulges", canvas.z + 60)
        canvas.paint(gland, self.tissue.soft(0.75 * self.phase.liver_hu, canvas.z, 7.0))
        inside = canvas.coverage(gland + 1)
        paint_inserts(canvas, self.inserts, inside)
        canvas.paint(bladder, 45.0)
        canvas.paint(bladder + 3.0, self.tissue.soft(self.bladder_hu, canvas.z, 2.0))
        paint_loop(canvas, self.rectum, cavity, self.tissue, self.phase)
        for tube, hu in zip(self.vessels, (self.phase.artery_hu, self.phase.vein_hu), strict=True):
            wall = tube.distance(canvas)
            canvas.paint(wall, 50.0)
            canvas.paint(wall + 0.9, hu)
            plaque = np.maximum(np.abs(wall + 0.6) - 0.7, 1.2 - self.tissue.field("bulges", 2 * canvas.z + 31))
            canvas.paint(plaque, 600.0)

    def _paint_sacrum(self, canvas: Canvas) -> None:
        z = canvas.z
        half_width = float(np.clip(14 + 0.42 * (z + 40), 12, 52))
        y = self.sacrum_y + 6 + 0.0016 * (z - 50) ** 2
        bone = Ellipsoid((0, y, z), (half_width, 19, ENDLESS_MM), 2.5).distance(canvas)
        crest = Ellipsoid((0, y + 20, z), (9, 14, ENDLESS_MM), 2.0).distance(canvas)
        bone = union([bone, crest], 8.0) + 1.5 * self.tissue.field("bulges", z)
        level = (z / 24.0) % 1.0 - 0.5
        holes = [Ellipsoid((0, y + 14, z), (10, 5, ENDLESS_MM)).distance(canvas)]
        holes += [Ellipsoid((side * 24, y - 2, z - level * 24), (5, 9, 7)).distance(canvas) for side in _SIDES]
        self.tissue.paint_bone(canvas, without(bone, union(holes)), 1.3)
        canvas.paint(union(holes) + 1.5, self.tissue.fat_hu + 50)

    def _paint_hips(self, canvas: Canvas) -> None:
        self.tissue.paint_bone(canvas, self.wings.distance(canvas), 2.0)
        for side in _SIDES:
            head_centre = (side * (self.hip_x + 18), self.hip_y, -22.0)
            socket = Ellipsoid((side * (self.hip_x + 8), self.hip_y, -20), (30, 34, 34), 2.2, side * 15).distance(
                canvas
            )
            joint = Ellipsoid(head_centre, (26.5, 26.5, 26.5)).distance(canvas)
            opening = side * (canvas.x - head_centre[0]) - 8
            self.tissue.paint_bone(canvas, np.maximum(without(socket, joint), opening), 2.2)
            canvas.paint(joint, 70.0)
            head = Ellipsoid(head_centre, (23.5, 23.5, 23.5)).distance(canvas)
            neck = Tube.chain([head_centre, (side * (self.hip_x + 55), self.hip_y + 12, -52)], [15, 17]).distance(
                canvas
            )
            trochanter = Ellipsoid((side * (self.hip_x + 60), self.hip_y + 16, -48), (19, 23, 32)).distance(canvas)
            self.tissue.paint_bone(canvas, union([head, neck, trochanter], 6.0), 2.0)


def _wings(random: np.random.Generator, hip_x: float, hip_y: float, sacrum_y: float, d: float) -> Tube:
    """Return both iliac wings: curved plates from the sacrum outwards and forwards, stacked along z."""
    points: list[npt.NDArray[np.float64]] = []
    radii: list[float] = []
    links: list[tuple[int, int]] = []
    thickness = random.uniform(4.0, 5.5)
    for side in _SIDES:
        for z in np.arange(-4.0, 104.0, _WING_STEP_MM):
            flare = np.clip(z / 100, 0, 1)
            start = np.array([40 + 14 * flare, sacrum_y + 2 - 26 * (1 - flare), z])
            end = np.array([hip_x + 10 + 34 * flare, hip_y - 8 - 0.45 * d * min(1.0, 2.5 * flare) * (1.3 - flare), z])
            if flare > 0.85:
                end = start + (end - start) * (1.0 - 3.5 * (flare - 0.85))
            bow = np.array([16 + 14 * flare, 6, 0])
            first = len(points)
            for share in np.linspace(0, 1, 7):
                point = start + share * (end - start) + 4 * share * (1 - share) * bow
                points.append(point * np.array([side, 1, 1]))
                radii.append(
                    thickness * (1.25 - 1.1 * share * (1 - share) * 2 + 0.5 * (share > 0.9)) * (1.5 - 0.5 * flare)
                )
            links += [(first + i, first + i + 1) for i in range(6)]
    return Tube(np.array(points, dtype=np.float32), np.array(radii, dtype=np.float32), np.array(links, dtype=np.int32))


def _rectum(random: np.random.Generator, sacrum_y: float, low_z: float, high_z: float) -> Loop:
    heights = np.linspace(low_z - 30, high_z + 30, 12)
    y = sacrum_y - 34 + 5 * np.sin(heights / 23) + 0.0012 * (heights - 50) ** 2
    path = np.stack([14 * np.sin(heights / 41 + random.uniform(0, 6)), y, heights], axis=1)
    gas = float(y.mean() - random.uniform(4, 12))
    return Loop(
        Tube.chain(path.astype(np.float32), random.uniform(14, 19)), 3.0, 25.0, gas, bool(random.random() < 0.6)
    )


def _iliac(random: np.random.Generator, hip_x: float, d: float, spread: float, radius: float) -> Tube:
    heights = np.array([-90, -40, 10, 60, 120], dtype=np.float32)
    across = np.array([1.0, 0.92, 0.72, 0.5, 0.16]) * hip_x * (spread if spread == 1.0 else 1.0)
    down = np.array([-0.66, -0.58, -0.35, -0.05, 0.2]) * d + 13 * (spread - 1.0) * 5
    points: list[tuple[float, float, float]] = []
    links: list[tuple[int, int]] = []
    for side in _SIDES:
        first = len(points)
        inset = 6.0 if spread > 1.0 else 0.0
        points += [(side * (x - inset), y, z) for x, y, z in zip(across, down, heights, strict=True)]
        links += [(first + i, first + i + 1) for i in range(4)]
    radii = np.full(len(points), radius * random.uniform(0.85, 1.1), dtype=np.float32)
    return Tube(np.array(points, dtype=np.float32), radii, np.array(links, dtype=np.int32))


def _fat_vessels(random: np.random.Generator, w: float, d: float, low_z: float, high_z: float) -> Tube:
    space = Ellipsoid((0, 0, (low_z + high_z) / 2), (0.8 * w, 0.85 * d, high_z - low_z + 80))
    return tree((12, 0.1 * d, high_z + 20), scatter_inside(space, random, 170, low_z - 20, high_z + 20), 0.7, random)


def _lesions(random: np.random.Generator, gland: Ellipsoid, low_z: float, high_z: float) -> tuple[Insert, ...]:
    places = scatter_inside(gland, random, 4, low_z, high_z, 0.7)
    return tuple(
        Insert("gland lesion", tuple(map(float, place)), float(random.uniform(2.5, 7)), float(random.uniform(-45, 45)))
        for place in places
    )

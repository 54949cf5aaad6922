"""The abdomen: liver with vessels and lesions, spleen, kidneys, stomach, pancreas, great vessels, bowel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ldctpipe.simulation.arms import PlacedArm, draw_arms
from ldctpipe.simulation.bowel import Loop, draw_loops, paint_loop
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.inserts import Insert, paint_inserts, scatter_inside
from ldctpipe.simulation.physique import ADULT, Physique
from ldctpipe.simulation.randomness import generator
from ldctpipe.simulation.shapes import Canvas, Ellipsoid, Tube, inside_both, union, without
from ldctpipe.simulation.tissue import Enhancement, Tissue
from ldctpipe.simulation.torso import (
    Build,
    Ribs,
    Spine,
    paint_back_muscles,
    paint_layers,
    paint_table,
)
from ldctpipe.simulation.vessels import tree


@dataclass(frozen=True)
class Abdomen:
    """The upper abdomen of one patient; z = 0 is the height of the liver's hilum."""

    build: Build
    tissue: Tissue
    phase: Enhancement
    spine: Spine
    ribs: Ribs
    right_lobe: Ellipsoid
    left_lobe: Ellipsoid
    spleen: Ellipsoid
    kidneys: tuple[Ellipsoid, Ellipsoid]
    stomach: Ellipsoid
    gallbladder: Ellipsoid
    stomach_level: float
    portal: Tube
    hepatic: Tube
    mesentery: Tube
    arteries: Tube
    cava: Tube
    pancreas: Tube
    loops: tuple[Loop, ...]
    inserts: tuple[Insert, ...]
    arms: tuple[PlacedArm, ...]

    @classmethod
    def draw(cls, seed: int, size: int, low_z: float, high_z: float, physique: Physique = ADULT) -> Abdomen:
        """Return the patient `seed`, with detail between the heights `low_z` and `high_z`."""
        random = generator(seed, "abdomen")
        build = Build.draw(random, vertebra=34.0, physique=physique)
        tissue, phase = (
            Tissue.draw(seed, size, build.field_of_view / size, physique.scale, physique.bone_density),
            Enhancement.draw(random),
        )
        w, d = build.cavity_width, build.cavity_depth
        jitter = random.normal(0.0, 0.03, 12)
        right = Ellipsoid(((-0.47 + jitter[0]) * w, (-0.02 + jitter[1]) * d, 8), (0.56 * w, 0.82 * d, 105), 2.3, -8)
        left = Ellipsoid((0.02 * w, (-0.52 + jitter[2]) * d, 25), (0.55 * w, 0.34 * d, 75), 2.2, 8)
        vessel_y = build.spine_y - 32
        portal, hepatic = _liver_vessels(right, left, random, low_z, high_z)
        loops = draw_loops(random, build, low_z, high_z)
        return cls(
            build,
            tissue,
            phase,
            Spine.of(build, random.uniform(22, 26), random.uniform(16, 19), 42),
            Ribs.draw(random, w + 7, d + 6, 4.0, np.arange(low_z - 30, high_z + 160, 27.0), 118),
            right,
            left,
            Ellipsoid(((0.74 + jitter[3]) * w, 0.3 * d, 22 + 200 * jitter[4]), (0.2 * w, 0.46 * d, 62), 2.2, 18),
            _kidneys(random, w, d),
            Ellipsoid(((0.42 + jitter[5]) * w, -0.3 * d, 30), (0.31 * w, 0.36 * d, 62), 2.2, -25),
            Ellipsoid((-0.34 * w, -0.38 * d, -32), (17, 26, 34), 2.0, 25),
            float(random.uniform(-0.55, -0.2) * d),
            portal,
            hepatic,
            _mesentery(random, vessel_y, w, d, low_z, high_z),
            _arteries(random, vessel_y, low_z, high_z),
            Tube.chain(
                [(-21, vessel_y + 6, low_z - 40), (-24, vessel_y + 2, 0), (-27, vessel_y - 8, high_z + 60)],
                [11, 12.5, 14],
            ),
            _pancreas(random, vessel_y),
            loops,
            _lesions(random, right, low_z, high_z),
            draw_arms(seed, "abdomen", build.half_width) if physique.arms_down else (),
        )

    def render(self, z: float) -> Canvas:
        """Return the slice at height `z`, not blurred."""
        canvas = self.tissue.canvas(z)
        paint_table(canvas, self.build, self.tissue)
        for arm in self.arms:
            arm.paint(canvas, self.tissue)
        cavity = paint_layers(canvas, self.build, self.tissue)
        canvas.paint(cavity, self.tissue.fat(z))
        self._paint_mesentery(canvas)
        for loop in self.loops:
            paint_loop(canvas, loop, cavity, self.tissue, self.phase)
        self._paint_stomach(canvas, cavity)
        self._paint_liver(canvas, cavity)
        canvas.paint(
            inside_both(self._rough(self.spleen, canvas), cavity + 2), self.tissue.soft(self.phase.spleen_hu, z)
        )
        self._paint_retroperitoneum(canvas)
        paint_back_muscles(
            canvas, self.build, self.tissue, float(np.clip(9.0 - 0.13 * z, 6.0, 17.0)) if z < 30 else 0.0
        )
        self._paint_great_vessels(canvas)
        self.spine.paint(canvas, self.tissue)
        self.tissue.paint_bone(canvas, self.ribs.distance(canvas), 1.3)
        return canvas

    def _rough(self, solid: Ellipsoid, canvas: Canvas, mm: float = 2.5) -> Image:
        return solid.distance(canvas) + mm * self.tissue.field("bulges", canvas.z)

    def _paint_mesentery(self, canvas: Canvas) -> None:
        canvas.paint(self.mesentery.distance(canvas), self.phase.vein_hu)

    def _paint_stomach(self, canvas: Canvas, cavity: Image) -> None:
        stomach = inside_both(self._rough(self.stomach, canvas, 3.0), cavity + 3)
        folds = 1.3 * self.tissue.field("strands", canvas.z)
        canvas.paint(stomach, self.phase.bowel_wall_hu)
        canvas.paint(stomach + 4.0 + folds, self.tissue.soft(25.0, canvas.z, 12.0))
        canvas.paint(np.maximum(stomach + 4.0 + folds, canvas.y - self.stomach_level), -990.0)

    def _paint_retroperitoneum(self, canvas: Canvas) -> None:
        lobules = 2.2 * self.tissue.field("strands", canvas.z)
        pancreas = self.pancreas.distance(canvas) + lobules
        canvas.paint(pancreas, self.tissue.soft(0.85 * self.phase.liver_hu, canvas.z, 8.0), 1.0)
        for side, kidney in zip((-1, 1), self.kidneys, strict=True):
            self._paint_kidney(canvas, kidney, side)

    def _paint_kidney(self, canvas: Canvas, kidney: Ellipsoid, side: int) -> None:
        capsule = self._rough(kidney, canvas, 1.2)
        x, y, z = kidney.centre
        hilum = Ellipsoid((x - side * 17, y - 6, z), (17, 9, 30), 2.0, -side * 25).distance(canvas)
        capsule = without(capsule, hilum + 2)
        pyramids = np.maximum(capsule + 7.0, 2.5 * self.tissue.field("bulges", canvas.z + 400) + 0.5)
        canvas.paint(inside_both(kidney.distance(canvas) - 6.0, self.build.cavity(canvas)), self.tissue.fat(canvas.z))
        canvas.paint(capsule, self.tissue.soft(self.phase.cortex_hu, canvas.z, 6.0))
        canvas.paint(pyramids, self.phase.medulla_hu, 1.5)
        canvas.paint(inside_both(hilum, kidney.distance(canvas)), self.tissue.fat_hu + 10, 1.0)
        for rise in (-9.0, 2.0, 12.0):
            vessel = Tube.chain([(x - side * 2, y - 4, z + rise), (x - side * 42, y - 20, z + 0.4 * rise)], [2.2, 3.2])
            canvas.paint(vessel.distance(canvas), self.phase.vein_hu)

    def _paint_liver(self, canvas: Canvas, cavity: Image) -> None:
        lobes = union([self.right_lobe.distance(canvas), self.left_lobe.distance(canvas)], 24.0)
        liver = inside_both(lobes + 2.0 * self.tissue.field("bulges", canvas.z), cavity + 2.5)
        fissure = np.abs(canvas.x + 0.12 * self.build.cavity_width + 0.4 * canvas.y + 20) - 1.5
        liver = without(liver, np.maximum(fissure, canvas.y + 0.45 * self.build.cavity_depth))
        canvas.paint(liver, self.tissue.soft(self.phase.liver_hu, canvas.z, 5.0))
        inside = canvas.coverage(liver + 1.5)
        for vessels, hu in ((self.portal, self.phase.vein_hu), (self.hepatic, self.phase.vein_hu - 8)):
            canvas.blend(inside * canvas.coverage(vessels.distance(canvas)), hu)
        paint_inserts(canvas, self.inserts, inside)
        bladder = self.gallbladder.distance(canvas)
        canvas.paint(bladder, 60.0)
        canvas.paint(bladder + 1.8, 8.0)

    def _paint_great_vessels(self, canvas: Canvas) -> None:
        cava = self.cava.distance(canvas) + 0.25 * np.abs(canvas.y - self.build.spine_y + 30)
        canvas.paint(cava, self.tissue.soft(self.phase.vein_hu, canvas.z, 4.0))
        aorta = self.arteries.distance(canvas)
        canvas.paint(aorta, 55.0)
        canvas.paint(aorta + 1.2, self.tissue.soft(self.phase.artery_hu, canvas.z, 3.0))
        plaque = np.maximum(np.abs(aorta + 0.8) - 0.9, 0.9 - self.tissue.field("bulges", 3 * canvas.z))
        canvas.paint(plaque, 650.0)


def _kidneys(random: np.random.Generator, w: float, d: float) -> tuple[Ellipsoid, Ellipsoid]:
    sizes = random.uniform(0.92, 1.08, 2)
    right = Ellipsoid((-0.46 * w, 0.47 * d, -38), (27 * sizes[0], 30 * sizes[0], 56), 2.2, -30)
    left = Ellipsoid((0.46 * w, 0.47 * d, -22), (27 * sizes[1], 30 * sizes[1], 58), 2.2, 30)
    return right, left


def _liver_vessels(
    right: Ellipsoid, left: Ellipsoid, random: np.random.Generator, low_z: float, high_z: float
) -> tuple[Tube, Tube]:
    low, high = low_z - 25, high_z + 25
    targets = [
        scatter_inside(right, random, 260, low, high),
        scatter_inside(left, random, 90, low, high),
    ]
    cloud = np.concatenate(targets).astype(np.float32)
    middle = (low + high) / 2
    portal = tree((right.centre[0] + 45, right.centre[1] - 5, middle - 15), cloud, 0.75, random, 0.35)
    shifted = cloud[::2] + random.normal(0, 5, cloud[::2].shape).astype(np.float32)
    hepatic = tree((right.centre[0] + 48, right.centre[1] + 32, middle + 40), shifted, 0.85, random, 0.45)
    return portal, hepatic


def _mesentery(random: np.random.Generator, vessel_y: float, w: float, d: float, low_z: float, high_z: float) -> Tube:
    count = 160
    angle, share = random.uniform(0, 2 * np.pi, count), np.sqrt(random.uniform(0.05, 1, count))
    x, y = 0.8 * w * share * np.cos(angle), -0.2 * d + 0.62 * d * share * np.sin(angle)
    z = random.uniform(low_z - 30, high_z + 30, count)
    cloud = np.stack([x, y, z], axis=1).astype(np.float32)
    return tree((4, vessel_y - 22, (low_z + high_z) / 2 + 30), cloud, 0.7, random, 0.4)


def _arteries(random: np.random.Generator, vessel_y: float, low_z: float, high_z: float) -> Tube:
    x, radius = random.uniform(6, 14), random.uniform(9.5, 12.5)
    return Tube.chain([(x - 3, vessel_y + 2, low_z - 40), (x, vessel_y, 0), (x + 2, vessel_y + 2, high_z + 60)], radius)


def _pancreas(random: np.random.Generator, vessel_y: float) -> Tube:
    y, z = vessel_y - 28, random.uniform(-30, -5)
    path = [
        (-34, y + 6, z - 22),
        (-26, y - 4, z - 6),
        (0, y - 9, z),
        (28, y - 4, z + 9),
        (58, y + 14, z + 18),
        (80, y + 26, z + 24),
    ]
    return Tube.chain(path, [13, 12, 9.5, 10, 10, 7])


def _lesions(random: np.random.Generator, liver: Ellipsoid, low_z: float, high_z: float) -> tuple[Insert, ...]:
    places = scatter_inside(liver, random, 7, low_z, high_z, 0.8)
    return tuple(
        Insert(
            "liver lesion", tuple(map(float, place)), float(random.uniform(2.5, 11)), float(random.uniform(-60, -15))
        )
        for place in places
    )

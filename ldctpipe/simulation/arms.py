"""Arms that lie beside the chest or the abdomen: skin, fat, muscle and bones of the cross-section at that height."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ldctpipe.simulation.randomness import generator
from ldctpipe.simulation.shapes import Canvas, Ellipsoid, inside_both
from ldctpipe.simulation.tissue import Tissue

ROOM_FOR_ARM_MM = 104.0
_ENDLESS_MM = 1e5


@dataclass(frozen=True)
class Limb:
    """Cross-section of an arm: half width and depth, and bones (x, y, radius) from its middle, all in mm."""

    half_axes: tuple[float, float]
    bones: tuple[tuple[float, float, float], ...]


LIMBS = {
    "thorax": Limb((41.0, 50.0), ((0.0, -2.0, 11.5),)),
    "abdomen": Limb((33.0, 42.0), ((-3.0, -15.0, 7.5), (4.0, 13.0, 8.5))),
}


@dataclass(frozen=True)
class PlacedArm:
    """One arm: the middle of its section at z = 0, how that moves with z, and its size and turn."""

    limb: Limb
    x: float
    y: float
    x_per_mm: float
    y_per_mm: float
    stoutness: float
    turn_deg: float

    def paint(self, canvas: Canvas, tissue: Tissue) -> None:
        """Paint skin, fat, muscle with its seams, and bone."""
        x, y = self.x + self.x_per_mm * canvas.z, self.y + self.y_per_mm * canvas.z
        a, b = (self.stoutness * half for half in self.limb.half_axes)
        skin = Ellipsoid((x, y, canvas.z), (a, b, _ENDLESS_MM), 2.2, self.turn_deg).distance(canvas)
        muscle = skin + 5.0 + 6.0 * self.stoutness + 1.5 * tissue.field("bulges", canvas.z + 700)
        canvas.paint(skin, 45.0)
        canvas.paint(skin + 1.8, tissue.fat(canvas.z + 300))
        canvas.paint(muscle, tissue.muscle(canvas.z + 900))
        cos, sin = np.cos(np.deg2rad(self.turn_deg)), np.sin(np.deg2rad(self.turn_deg))
        across = cos * (canvas.y - y) - sin * (canvas.x - x) + 4.0 * tissue.field("bulges", canvas.z + 40)
        canvas.paint(inside_both(np.abs(across) - 0.6, muscle + 1), tissue.fat_hu + 30, 0.5)
        for bone_x, bone_y, radius in self.limb.bones:
            centre = (x + cos * bone_x - sin * bone_y, y + sin * bone_x + cos * bone_y, canvas.z)
            shaft = Ellipsoid(centre, (radius, 0.9 * radius, _ENDLESS_MM), 2.1, self.turn_deg + 20).distance(canvas)
            canvas.paint(shaft, 1.25 * tissue.cortical_hu)
            canvas.paint(shaft + 0.36 * radius, 20.0)


def draw_arms(seed: int, region: str, half_width: float) -> tuple[PlacedArm, ...]:
    """Return both arms of the patient `seed`, beside a trunk of `half_width` mm."""
    random = generator(seed, "arms")
    limb, stoutness = LIMBS[region], float(random.uniform(0.85, 1.05))
    arms = []
    for side in (-1, 1):
        x = side * (half_width + stoutness * limb.half_axes[0] + random.uniform(-2, 6))
        y, turn_deg = float(random.uniform(5, 35)), float(side * random.uniform(-20, 20))
        slopes = float(side * random.uniform(-0.12, 0.02)), float(random.uniform(-0.1, 0.1))
        arms.append(PlacedArm(limb, float(x), y, *slopes, stoutness, turn_deg))
    return tuple(arms)

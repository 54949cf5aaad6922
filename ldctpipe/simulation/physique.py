"""How big patients are, from infants to heavy adults, and whether their arms lie beside the body.

Anatomy is drawn at the size of an adult; a child is that anatomy scaled down, rounder, with less fat and softer bone.
Widths and depths in mm after scaling lie around those of AAPM TG-204: infant 150 × 120, child 220 × 170, adult
290–360 × 200–260, large adult 380–430 × 270–320.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ldctpipe.simulation.phantom_choices import Arms, BodySize


@dataclass(frozen=True)
class Physique:
    """Body of one patient: `scale` times a body of adult anatomy whose lengths are (slim, growth to stout) in mm.

    `hips` is how much wider than the rest of the trunk the pelvis is; `bone_density` 1 is that of adults.
    """

    scale: float = 1.0
    head_scale: float = 1.0
    half_width_mm: tuple[float, float] = (146, 34)
    half_depth_mm: tuple[float, float] = (100, 30)
    fat_mm: tuple[float, float] = (9, 20)
    hips: float = 1.1
    bone_density: float = 1.0
    arms_down: bool = False


ADULT = Physique()
_LENGTHS = {
    BodySize.INFANT: {"half_width_mm": (143.0, 14.0), "half_depth_mm": (114.0, 12.0), "fat_mm": (9.0, 6.0)},
    BodySize.CHILD: {"half_width_mm": (143.0, 16.0), "half_depth_mm": (111.0, 14.0), "fat_mm": (8.0, 9.0)},
    BodySize.ADULT: {},
    BodySize.LARGE: {"half_width_mm": (190.0, 25.0), "half_depth_mm": (134.0, 24.0), "fat_mm": (24.0, 16.0)},
}
# Lowest and highest scale of the trunk and of the head, width of the hips, and bone density relative to an adult's.
_SCALES = {
    BodySize.INFANT: ((0.46, 0.56), (0.68, 0.78), 0.97, 0.6),
    BodySize.CHILD: ((0.64, 0.82), (0.88, 0.96), 1.03, 0.8),
    BodySize.ADULT: ((1.0, 1.0), (1.0, 1.0), 1.1, 1.0),
    BodySize.LARGE: ((1.0, 1.0), (1.02, 1.06), 1.1, 1.0),
}
_SHARES_OF_MIXED = {BodySize.INFANT: 0.15, BodySize.CHILD: 0.2, BodySize.ADULT: 0.45, BodySize.LARGE: 0.2}


def draw_physique(random: np.random.Generator, size: BodySize, arms: Arms) -> tuple[BodySize, Physique]:
    """Return the size and the physique of one patient."""
    if size is BodySize.MIXED:
        size = list(_SHARES_OF_MIXED)[int(random.choice(len(_SHARES_OF_MIXED), p=list(_SHARES_OF_MIXED.values())))]
    trunk, head, hips, bone_density = _SCALES[size]
    share = random.uniform()
    scale, head_scale = (low + share * (high - low) for low, high in (trunk, head))
    down = arms is Arms.DOWN or (arms is Arms.MIXED and bool(random.random() < 0.4))
    lengths = _LENGTHS[size]
    return size, Physique(scale, head_scale, hips=hips, bone_density=bone_density, arms_down=down, **lengths)

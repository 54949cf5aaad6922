"""Whether a scan's slices lie as far apart as those that a network of several slices was trained on."""

from __future__ import annotations

import math

from ldctpipe.recipes.bundle import Bundle
from ldctpipe.volumes.neighbors import usual_step_mm
from ldctpipe.volumes.volume import Volume

MOST_APART = 1.25  # times the nearest spacing of the training: 3 mm and 2.5 mm are alike, 3 mm and 2 mm are not


def spacing_doubts(bundle: Bundle, volume: Volume) -> tuple[str, ...]:
    """Return a sentence if the slice spacing differs from that of the bundle's training by more than a factor of 1.25.

    Nothing for a network that sees one slice, for a single slice, or for a bundle whose card does not state a spacing.
    """
    ends_mm = (bundle.card.get("data", {}).get("voxels") or {}).get("slice_spacing_mm")
    spacing_mm = abs(usual_step_mm(volume.positions_mm))
    if bundle.recipe.data.context == 0 or not ends_mm or math.isnan(spacing_mm):
        return ()
    least_mm, largest_mm = ends_mm
    if least_mm / MOST_APART <= spacing_mm <= largest_mm * MOST_APART:
        return ()
    trained = f"{least_mm:g}" if least_mm == largest_mm else f"{least_mm:g} to {largest_mm:g}"
    return (
        f"slices are {spacing_mm:.3g} mm apart; the network sees neighboring slices and was trained on slices "
        f"{trained} mm apart, so check its result with care",
    )

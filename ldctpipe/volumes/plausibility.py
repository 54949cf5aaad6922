"""Whether the values of a volume can be HU at all, and its size that of a CT."""

from __future__ import annotations

import numpy as np

from ldctpipe.volumes.volume import HuArray

LARGEST_ROWS_OR_COLUMNS = 4096

_SAMPLED_VALUES = 4_000_000
_LARGEST_HU = 65536.0  # extended CT scales for metal end at 65535
_DENSEST_OF_AIR_HU = -300.0
_BRIGHT_WITHOUT_INTERCEPT_HU = 800.0
_AIR_HU, _SOFT_TISSUE_HU = (-1100.0, -900.0), (-200.0, 200.0)
_SMALLEST_SPREAD_HU = 30.0  # the noise alone of an even volume spreads further
_LABELS = 64
_HIGHEST_GREY = 255


def hu_fault(values: HuArray) -> str | None:
    """Return why finite values of any shape and origin can't be HU, as a clause ("holds …"), or None where they can.

    Refuses what `scale_fault` does, and beside it values that were scaled on purpose: normalised or standardised ones,
    8-bit grey values, labels. Looks at an even sample of large volumes.
    """
    sampled = values.ravel()[:: max(1, values.size // _SAMPLED_VALUES)]
    lowest, highest = float(sampled.min()), float(sampled.max())
    if max(-lowest, highest) > _LARGEST_HU:
        return scale_fault(sampled)
    if lowest == highest:
        return f"holds nothing but the value {lowest:g}"
    if lowest >= 0 and _is_label_map(sampled):
        return "holds a few whole numbers from 0: a map of labels, not HU"
    if highest - lowest < _SMALLEST_SPREAD_HU:
        return f"holds values from {lowest:.3g} to {highest:.3g}: normalised, not HU"
    if lowest >= 0 and highest <= _HIGHEST_GREY:
        return f"holds grey values from 0 to {highest:g}, not HU"
    return scale_fault(sampled)


def scale_fault(sampled: HuArray) -> str | None:
    """Return why values from a CT can't be HU, as a clause ("holds …"), or None where they can.

    HU of a CT have air near −1000 and soft tissue near 0. A lost intercept or a wild slope puts them elsewhere.
    """
    lowest, highest = float(sampled.min()), float(sampled.max())
    if max(-lowest, highest) > _LARGEST_HU:
        return f"holds values from {lowest:g} to {highest:g}, which can't be HU"
    dense = float(np.percentile(sampled, 99.9))
    if dense < _DENSEST_OF_AIR_HU:
        return f"holds nothing denser than {_DENSEST_OF_AIR_HU:g} HU, so soft tissue is nowhere near 0"
    if lowest >= 0 and dense > _BRIGHT_WITHOUT_INTERCEPT_HU:
        return "holds no negative value but bright ones: the intercept to HU (often −1024) was lost"
    if not any(((sampled >= low) & (sampled <= high)).any() for low, high in (_AIR_HU, _SOFT_TISSUE_HU)):
        return "holds neither air near -1000 HU nor soft tissue near 0"
    return None


def _is_label_map(sampled: HuArray) -> bool:
    return bool((sampled == np.rint(sampled)).all()) and len(np.unique(sampled)) <= _LABELS

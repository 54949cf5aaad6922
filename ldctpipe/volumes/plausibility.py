"""Whether the values of a volume can be HU at all."""

from __future__ import annotations

import numpy as np

from ldctpipe.volumes.volume import HuArray

_SAMPLED_VALUES = 4_000_000
_LOWEST_CT_HU, _HIGHEST_CT_HU = -32768, 32767  # what int16 holds; scanners pad far below air
_DENSEST_OF_AIR_HU = -300.0
_BRIGHT_WITHOUT_INTERCEPT_HU = 800.0
_LABELS = 64
_HIGHEST_GREY = 255


def hu_fault(values: HuArray) -> str | None:
    """Return why finite values of any shape can't be HU, as a clause ("holds …"), or None where they can.

    HU of a CT have air near −1000 and soft tissue near 0. Looks at an even sample of large volumes.
    """
    sampled = values.ravel()[:: max(1, values.size // _SAMPLED_VALUES)]
    lowest, highest = float(sampled.min()), float(sampled.max())
    if lowest < _LOWEST_CT_HU or highest > _HIGHEST_CT_HU:
        return f"holds values from {lowest:g} to {highest:g}, which can't be HU"
    if lowest == highest:
        return f"holds nothing but the value {lowest:g}"
    if lowest >= -1 and highest <= 1:
        return f"holds values from {lowest:.3g} to {highest:.3g}: normalised, not HU"
    if lowest >= 0:
        return _fault_without_negatives(sampled, highest)
    if float(np.percentile(sampled, 99.9)) < _DENSEST_OF_AIR_HU:
        return f"holds nothing denser than {_DENSEST_OF_AIR_HU:g} HU, so soft tissue is nowhere near 0"
    return None


def _fault_without_negatives(sampled: HuArray, highest: float) -> str | None:
    whole = bool((sampled == np.rint(sampled)).all())
    if whole and len(np.unique(sampled)) <= _LABELS:
        return "holds a few whole numbers from 0: a map of labels, not HU"
    if highest <= _HIGHEST_GREY:
        return f"holds grey values from 0 to {highest:g}, not HU"
    if float(np.percentile(sampled, 99.9)) > _BRIGHT_WITHOUT_INTERCEPT_HU:
        return "holds no negative value but bright ones: the intercept to HU (often −1024) was lost"
    return None

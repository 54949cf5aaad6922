"""Which low-dose slice shows what a full-dose slice shows: by place in the patient, checked by likeness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ldctpipe.data.alignment import Indices, Mismatch, aligned, slice_name, slice_names
from ldctpipe.data.likeness import LEAST_CORRELATION, Likeness, likeness
from ldctpipe.errors import InputError
from ldctpipe.progress import warn
from ldctpipe.volumes.volume import Volume

_NAMED_REASONS = 3


@dataclass(frozen=True)
class Pair:
    """Two volumes of one anatomy: slice `low_index[i]` of `low` shows what slice `full_index[i]` of `full` shows.

    `full_index` counts through all slices of `full`; `low` may have more slices than those.
    """

    low: Volume
    full: Volume
    low_index: Indices
    full_index: Indices

    @property
    def unpaired_low(self) -> Indices:
        """Return the low-dose slices that no full-dose slice belongs to."""
        return np.setdiff1d(np.arange(len(self.low.hu)), self.low_index)


def pair_volumes(
    low: Sequence[Volume], full: Sequence[Volume], role: str = "low-dose", *, unlike: bool = False
) -> list[Pair]:
    """Return one pair for each full-dose volume, in the order of `full`.

    A pair has the same size, pixel grid, slice thickness, frame of reference and kernel (where both are known); each
    full-dose slice has a low-dose slice within half a slice distance, and every one of these shows the same. Several
    candidates are told apart by their correlation. Low-dose series and slices without a partner are left out with a
    warning that names them. Raises `InputError` that names both series, and the slices at fault with their files,
    where a full-dose volume finds no partner. `role` is what messages call `low`. With `unlike`, images that show
    something else are paired by their place alone, with a warning.
    """
    unused = list(low)
    pairs = []
    for volume in full:
        pair = _best_pair(unused, volume, role, unlike)
        unused = [candidate for candidate in unused if candidate is not pair.low]
        pairs.append(pair)
        if len(pair.unpaired_low):
            left_out = f"{len(pair.unpaired_low)} slice(s) have no full-dose partner and are left out"
            warn(f"{role} series {pair.low.key}: {left_out}: {slice_names(pair.low, pair.unpaired_low)}")
    for volume in unused:
        first = slice_name(volume, 0)
        warn(f"{role} series {volume.key} has no full-dose partner and is left out; it starts with {first}")
    return pairs


def _best_pair(candidates: Sequence[Volume], full: Volume, role: str, unlike: bool) -> Pair:
    found: list[tuple[Pair, Likeness, str | None]] = []
    reasons: list[str] = []
    for low in candidates:
        try:
            found.append(_pair(low, full, unlike))
        except Mismatch as mismatch:
            reasons.append(f"{role} series {low.key}: {mismatch}")
    if not found:
        raise _without_partner(full, reasons, role)
    pair, alike, difference = max(found, key=lambda each: each[1].correlations.min())
    if difference:
        warn(f"{role} series {pair.low.key} is compared by place: {difference}")
    if alike.are_equal:
        warn(f"{role} series {pair.low.key} and full-dose series {full.key} hold the same images")
    return pair


def _pair(low: Volume, full: Volume, unlike: bool) -> tuple[Pair, Likeness, str | None]:
    """The pair of two volumes, its likeness, and in what they differ that `unlike` allows; raises `Mismatch`."""
    low_index, distances = aligned(low, full)
    pair = Pair(low, full, low_index, np.arange(len(full.hu)))
    alike = likeness(low, full, pair.low_index, pair.full_index)
    wrong = alike.wrong_slices(distances)
    difference = _difference(pair, alike, wrong) if len(wrong) else None
    if difference and not unlike:
        raise Mismatch(difference)
    return pair, alike, difference


def _difference(pair: Pair, alike: Likeness, wrong: Indices) -> str:
    worst = int(wrong[alike.correlations[wrong].argmin()])
    low, full = slice_name(pair.low, pair.low_index[worst]), slice_name(pair.full, pair.full_index[worst])
    correlation = alike.correlations[worst]
    share = f"{len(wrong)} of {len(pair.full_index)} images differ from their partners"
    wanted = f"correlation {correlation:.2f}, wanted at least {LEAST_CORRELATION}"
    if correlation >= LEAST_CORRELATION:
        wanted = f"correlation {correlation:.3f}, but other slices fit better or are more alike"
    return f"{share}: {low} and full-dose {full} ({wanted})"


def _without_partner(full: Volume, reasons: Sequence[str], role: str) -> InputError:
    why = "; ".join(reasons[:_NAMED_REASONS]) or f"no {role} series is left for it"
    if len(reasons) > _NAMED_REASONS:
        why += f"; and {len(reasons) - _NAMED_REASONS} more"
    where = f", which starts with {slice_name(full, 0)}," if full.files else ""
    fault = f"full-dose series {full.key}{where} has no matching {role} series ({why})"
    return InputError(None, fault, f"give the {role} series of the same scan with all its slices")

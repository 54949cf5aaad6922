"""Which low-dose slice shows what a full-dose slice shows: by place in the patient, checked by likeness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ldctpipe.data.alignment import Alignment, Indices, Mismatch, aligned, slice_name, slice_names
from ldctpipe.data.grid_order import in_order_of
from ldctpipe.data.likeness import LEAST_CORRELATION, Likeness, likeness
from ldctpipe.errors import InputError
from ldctpipe.progress import warn
from ldctpipe.volumes.volume import Volume

_NAMED_REASONS = 3
# Of two candidates, one that has fewer than half of the other's common slices shows another part of the scan.
_LEAST_SHARE_OF_SLICES = 0.5
# Mirrored images are those of the other where they correlate so well, with a mean squared difference below this share.
_MIRRORED_CORRELATION, _CLEARLY_CLOSER = 0.95, 0.5
_COMPARED_SLICES, _COMPARED_HU = 9, (-1000, 1000)


@dataclass(frozen=True)
class Pair:
    """Two volumes of one anatomy: slice `low_index[i]` of `low` shows what slice `full_index[i]` of `full` shows.

    Both indices ascend with the slices of `full`. Either volume may have more slices than those. The rows and columns
    of `low` run as those of `full` do, also where they are stored the other way round.
    """

    low: Volume
    full: Volume
    low_index: Indices
    full_index: Indices

    @property
    def unpaired_low(self) -> Indices:
        """Return the low-dose slices that no full-dose slice belongs to."""
        return np.setdiff1d(np.arange(len(self.low.hu)), self.low_index)

    @property
    def unpaired_full(self) -> Indices:
        """Return the full-dose slices that no low-dose slice belongs to."""
        return np.setdiff1d(np.arange(len(self.full.hu)), self.full_index)


def pair_volumes(
    low: Sequence[Volume],
    full: Sequence[Volume],
    role: str = "low-dose",
    *,
    unlike: bool = False,
    every: bool = True,
    sources: Mapping[int, Pair] | None = None,
) -> list[Pair]:
    """Return one pair for each full-dose volume, in the order of `full`.

    A pair has the same size, pixel grid, slice thickness and kernel (where both are known), and slices within half a
    slice distance of each other, every one of which shows the same. Rows and columns may be stored in opposite order
    where the affines say so. Another frame of reference, as anonymizing leaves it, is accepted with a warning where
    positions and anatomy agree. Several candidates are told apart by their correlation. Series and slices without a
    partner are left out with a warning that names them. Raises `InputError` that names both series, and the slices at
    fault with their files, where a full-dose volume finds no partner; without `every`, such a volume is left out with
    a warning instead where another one has a partner and nothing contradicts it. `role` is what messages call `low`.
    With `unlike`, images that show something else are paired by their place alone, with a warning. `sources` has the
    low-dose pair of full-dose volumes by their `id`: of several candidates, the one made from that low dose is taken.
    """
    unused = list(low)
    pairs = []
    without: list[tuple[Volume, InputError]] = []
    for volume in full:
        try:
            pair, source = _best_pair(unused, volume, role, unlike, (sources or {}).get(id(volume)))
        except _NoPartner as refusal:
            if every or refusal.is_of_content:
                raise refusal.error from None
            without.append((volume, refusal.error))
            continue
        unused = [candidate for candidate in unused if candidate is not source]
        pairs.append(pair)
        _warn_of_unpaired(pair, role)
    if without and not pairs:
        raise without[0][1]
    for _, error in without:
        warn(f"{error.fault}; it is left out")
    for volume in unused:
        first = slice_name(volume, 0)
        warn(f"{role} series {volume.key} has no full-dose partner and is left out; it starts with {first}")
    return pairs


class _NoPartner(Exception):
    def __init__(self, error: InputError, *, is_of_content: bool) -> None:
        super().__init__(str(error))
        self.error, self.is_of_content = error, is_of_content


def _warn_of_unpaired(pair: Pair, role: str) -> None:
    if len(pair.unpaired_low):
        left_out = f"{len(pair.unpaired_low)} slice(s) have no full-dose partner and are left out"
        warn(f"{role} series {pair.low.key}: {left_out}: {slice_names(pair.low, pair.unpaired_low)}")
    if len(pair.unpaired_full):
        left_out = f"{len(pair.unpaired_full)} slice(s) have no {role} partner and are left out"
        warn(f"full-dose series {pair.full.key}: {left_out}: {slice_names(pair.full, pair.unpaired_full)}")


@dataclass(frozen=True)
class _Candidate:
    """A pair that is possible, the volume as it was given, and what is to be warned of where it is taken."""

    pair: Pair
    source: Volume
    alike: Likeness
    warnings: tuple[str, ...]

    @property
    def rank(self) -> tuple[bool, float]:
        """The sort key of candidates: the same frame of reference, then likeness."""
        return not _frames_differ(self.pair.low, self.pair.full), self.alike.of_anatomy


def _best_pair(
    candidates: Sequence[Volume], full: Volume, role: str, unlike: bool, source: Pair | None
) -> tuple[Pair, Volume]:
    found: list[_Candidate] = []
    reasons: list[tuple[str, Mismatch]] = []
    for low in candidates:
        try:
            found.append(_candidate(low, full, role, unlike))
        except Mismatch as mismatch:
            reasons.append((f"{role} series {low.key}: {mismatch}", mismatch))
    if not found:
        error = _without_partner(full, reasons, role)
        raise _NoPartner(error, is_of_content=any(mismatch.is_of_content for _, mismatch in reasons))
    most = max(len(each.pair.full_index) for each in found)
    long_enough = [each for each in found if len(each.pair.full_index) >= _LEAST_SHARE_OF_SLICES * most]
    if source is not None and len(long_enough) > 1:
        # What was made from the full dose is more like it, and would be measured as if it were the denoised low dose.
        best = max(long_enough, key=lambda each: (each.rank[0], _noise_in_common(source, each.pair)))
    else:
        best = max(long_enough, key=lambda each: each.rank)
    for warning in best.warnings:
        warn(warning)
    if best.alike.are_equal:
        warn(f"{role} series {best.pair.low.key} and full-dose series {full.key} hold the same images")
    return best.pair, best.source


def _noise_in_common(source: Pair, made: Pair) -> float:
    """How much of the noise of a low dose is in images that may be made from it, in HU²; −∞ where no slice is shared.

    What is left beside the full dose is multiplied with low minus full dose, which shows no anatomy: a denoiser keeps
    a part of its input's noise, and what it made of the full dose has none of the low dose's.
    """
    shared, at_source, at_made = np.intersect1d(source.full_index, made.full_index, return_indices=True)
    if not len(shared):
        return -np.inf
    products = []
    for place in np.unique(np.linspace(0, len(shared) - 1, _COMPARED_SLICES).astype(int)):
        full = _clipped(made.full, shared[place])
        rest = _clipped(made.low, made.low_index[at_made[place]]) - full
        products.append(float(np.mean(rest * (_clipped(source.low, source.low_index[at_source[place]]) - full))))
    return float(np.median(products))


def _clipped(volume: Volume, index: int) -> npt.NDArray[np.float32]:
    return np.clip(volume.hu[index], *_COMPARED_HU).astype(np.float32)


def _candidate(source: Volume, full: Volume, role: str, unlike: bool) -> _Candidate:
    """The pair of two volumes with its likeness and warnings about allowed differences; raises `Mismatch`."""
    low = in_order_of(source, full)
    found = aligned(low, full)
    pair = Pair(low, full, found.low_index, found.full_index)
    alike = likeness(low, full, pair.low_index, pair.full_index)
    wrong = alike.wrong_slices(found.distances)
    warnings = []
    mirrored = _mirrored(pair)
    if len(wrong) or mirrored:  # a body correlates with its mirror image, too
        difference = _difference(pair, alike, wrong) if len(wrong) else f"it fits better with its {mirrored} mirrored"
        if not unlike:
            remedy = f"convert it again: its {mirrored} are stored in the opposite order of what its header says"
            raise Mismatch(difference, remedy if mirrored else None, is_of_content=True)
        warnings.append(f"{role} series {low.key} is matched by position alone: {difference}")
    if _frames_differ(low, full):
        warnings.append(_excused_frames(low, full, role, found, alike))
    elif not alike.holds_anatomy.any():
        warnings.append(f"{role} series {low.key} is matched by position alone: no slice shows anatomy to compare")
    return _Candidate(pair, source, alike, tuple(warnings))


def _mirrored(pair: Pair) -> str | None:
    """Return what must be mirrored to make the images match, contrary to their affine; None if nothing must be."""
    middle = np.array([len(pair.full_index) // 2])
    places = pair.low_index[middle], pair.full_index[middle]
    full = replace(pair.full, padding=None)
    own = likeness(replace(pair.low, padding=None), full, *places)
    for words, rows, columns in (("rows", -1, 1), ("columns", 1, -1), ("rows and columns", -1, -1)):
        alike = likeness(replace(pair.low, hu=pair.low.hu[:, ::rows, ::columns], padding=None), full, *places)
        is_closer = alike.differences_hu2[0] < _CLEARLY_CLOSER * own.differences_hu2[0]
        if is_closer and alike.holds_anatomy[0] and alike.correlations[0] > _MIRRORED_CORRELATION:
            return words
    return None


def _frames_differ(low: Volume, full: Volume) -> bool:
    frames = low.frame_of_reference, full.frame_of_reference
    return all(frames) and frames[0] != frames[1]


def _excused_frames(low: Volume, full: Volume, role: str, found: Alignment, alike: Likeness) -> str:
    """Return the warning about another frame of reference where place and anatomy agree; raises `Mismatch` else."""
    if not alike.proves_one_scan(found.distances):
        reason = "another frame of reference, and the images are not similar enough to match without one"
        raise Mismatch(reason, "give series of one scan, or, where they are, write one FrameOfReferenceUID into both")
    return (
        f"{role} series {low.key} has another frame of reference than full-dose series {full.key}, as after "
        "anonymizing; positions and images agree, so they are taken as one scan"
    )


def _difference(pair: Pair, alike: Likeness, wrong: Indices) -> str:
    worst = int(wrong[alike.correlations[wrong].argmin()])
    low, full = slice_name(pair.low, pair.low_index[worst]), slice_name(pair.full, pair.full_index[worst])
    correlation = alike.correlations[worst]
    share = f"{len(wrong)} of {len(pair.full_index)} images differ from their partners"
    wanted = f"correlation {correlation:.2f}, wanted at least {LEAST_CORRELATION}"
    if correlation >= LEAST_CORRELATION:
        wanted = f"correlation {correlation:.3f}, but other slices fit better or are more alike"
    return f"{share}: {low} and full-dose {full} ({wanted})"


def _without_partner(full: Volume, reasons: Sequence[tuple[str, Mismatch]], role: str) -> InputError:
    why = "; ".join(reason for reason, _ in reasons[:_NAMED_REASONS]) or f"no {role} series is left for it"
    if len(reasons) > _NAMED_REASONS:
        why += f"; and {len(reasons) - _NAMED_REASONS} more"
    where = f", which starts with {slice_name(full, 0)}," if full.files else ""
    fault = f"full-dose series {full.key}{where} has no matching {role} series ({why})"
    remedy = reasons[0][1].remedy if len(reasons) == 1 else None
    return InputError(None, fault, remedy or f"give the {role} series of the same scan")

"""Low dose, denoised and full dose of the same slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from ldctpipe.data.alignment import common_places_mm
from ldctpipe.data.pairing import Pair, pair_volumes
from ldctpipe.volumes.volume import HuArray, Volume

Indices = npt.NDArray[np.intp]

_SAME_PLACE_MM = 0.1


@dataclass(frozen=True)
class MatchedSeries:
    """Three volumes and, for each slice that all three have, its index in each; all indices have the same length.

    `outside_full_dose` is the number of places at which the full dose has no slice and another volume has one.
    """

    low_dose: Volume
    denoised: Volume
    full_dose: Volume
    low_index: Indices
    denoised_index: Indices
    full_index: Indices
    outside_full_dose: int = 0

    def __len__(self) -> int:
        return len(self.full_index)

    @property
    def left_out_slices(self) -> int:
        """Number of places at which one or two of the three volumes have a slice and another has none."""
        return len(self.full_dose.hu) - len(self) + self.outside_full_dose

    def images(self, index: int) -> dict[str, HuArray]:
        """Return the three HU images (rows, columns) of matched slice `index` by role."""
        return {
            "low_dose": self.low_dose.hu[self.low_index[index]],
            "denoised": self.denoised.hu[self.denoised_index[index]],
            "full_dose": self.full_dose.hu[self.full_index[index]],
        }

    def padding(self, index: int) -> npt.NDArray[np.bool_] | None:
        """Return True where any of the three images is the scanner's padding; None means nowhere."""
        places = (
            (self.low_dose, self.low_index), (self.denoised, self.denoised_index), (self.full_dose, self.full_index),
        )  # fmt: skip
        masks = [volume.padding[indices[index]] for volume, indices in places if volume.padding is not None]
        return np.logical_or.reduce(masks) if masks else None


def match_series(
    denoised: Sequence[Volume], low_dose: Sequence[Volume], full_dose: Sequence[Volume], *, derived: bool = False
) -> list[MatchedSeries]:
    """Return one match a full-dose series that has a denoised and a low-dose partner.

    `derived` says that the denoised series are known to come from these scans: then they are matched by place even
    where a bad denoiser left nothing of the anatomy, so that this is measured and not refused.

    Raises `InputError` (from the pairing) when volumes do not show the same slices.
    """
    low_pairs = {id(pair.full): pair for pair in pair_volumes(low_dose, full_dose, every=False)}
    # What is denoised has the frame of reference of its low dose, which may have turned out to be the full dose's.
    frames = {pair.low.frame_of_reference: pair.full.frame_of_reference for pair in low_pairs.values()}
    in_frames = [_in_frame(volume, frames.get(volume.frame_of_reference)) for volume in denoised]
    of_low = [volume for volume in full_dose if id(volume) in low_pairs]
    pairs = pair_volumes(in_frames, of_low, role="denoised", unlike=derived, every=False, sources=low_pairs)
    return [_match(low_pairs[id(pair.full)], pair) for pair in pairs]


def in_common(methods: Mapping[str, Sequence[MatchedSeries]]) -> list[dict[str, MatchedSeries]]:
    """Return the match of each method by name, one dictionary per full-dose series, with the slices that all have.

    `methods` holds what `match_series` returned for the denoised volumes of each method and the same low and full dose.
    Series without a slice in common are left out.
    """
    by_series = [{id(match.full_dose): match for match in matches} for matches in methods.values()]
    shared_series = [key for key in by_series[0] if all(key in matches for matches in by_series)]
    found = []
    for key in shared_series:
        matches = dict(zip(methods, (each[key] for each in by_series), strict=True))
        shared = reduce(np.intersect1d, (match.full_index for match in matches.values()))
        if len(shared):
            found.append({name: _reduced(match, shared) for name, match in matches.items()})
    return found


def common_padding(methods: Mapping[str, MatchedSeries], index: int) -> npt.NDArray[np.bool_] | None:
    """Return True where any image of the slice is padding, so that all methods are measured at the same pixels."""
    masks = [mask for series in methods.values() if (mask := series.padding(index)) is not None]
    return np.logical_or.reduce(masks) if masks else None


def _reduced(match: MatchedSeries, full_index: Indices) -> MatchedSeries:
    kept = np.isin(match.full_index, full_index)
    low_index, denoised_index = match.low_index[kept], match.denoised_index[kept]
    return replace(match, low_index=low_index, denoised_index=denoised_index, full_index=match.full_index[kept])


def _in_frame(volume: Volume, frame: str | None) -> Volume:
    return replace(volume, frame_of_reference=frame) if volume.frame_of_reference and frame else volume


def _match(low: Pair, denoised: Pair) -> MatchedSeries:
    shared, at_low, at_denoised = np.intersect1d(low.full_index, denoised.full_index, return_indices=True)
    outside_mm = np.concatenate([common_places_mm(pair.low, pair.full)[pair.unpaired_low] for pair in (low, denoised)])
    outside = int((np.diff(np.sort(outside_mm), prepend=-np.inf) > _SAME_PLACE_MM).sum())
    low_index, denoised_index = low.low_index[at_low], denoised.low_index[at_denoised]
    return MatchedSeries(low.low, denoised.low, low.full, low_index, denoised_index, shared.astype(np.intp), outside)

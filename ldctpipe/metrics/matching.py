"""Low dose, denoised and full dose of the same slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ldctpipe.data.pairing import Pair, pair_volumes
from ldctpipe.volumes.volume import HuArray, Volume

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class MatchedSeries:
    """Three volumes and, for each slice that all three have, its index in each; all indices have the same length."""

    low_dose: Volume
    denoised: Volume
    full_dose: Volume
    low_index: Indices
    denoised_index: Indices
    full_index: Indices

    def __len__(self) -> int:
        return len(self.full_index)

    @property
    def left_out_slices(self) -> int:
        """Number of denoised and full-dose slices without a partner."""
        return len(self.denoised.hu) + len(self.full_dose.hu) - 2 * len(self)

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
    low_pairs = {id(pair.full): pair for pair in pair_volumes(low_dose, full_dose)}
    denoised_pairs = {
        id(pair.full): pair for pair in pair_volumes(denoised, full_dose, role="denoised", unlike=derived)
    }
    return [_match(low_pairs[key], denoised_pairs[key]) for key in denoised_pairs if key in low_pairs]


def _match(low: Pair, denoised: Pair) -> MatchedSeries:
    shared, at_low, at_denoised = np.intersect1d(low.full_index, denoised.full_index, return_indices=True)
    return MatchedSeries(
        low.low, denoised.low, low.full, low.low_index[at_low], denoised.low_index[at_denoised], shared.astype(np.intp)
    )

"""Slices of other patients, for methods that learn from images which are no pairs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class OtherPatients:
    """Draws for each slice one of another patient; where there is one patient, another of its slices.

    `patients` names the patient of each of the slices that are drawn from.
    """

    def __init__(self, patients: npt.NDArray[np.object_]) -> None:
        names = patients if len(set(patients)) > 1 else np.arange(len(patients))
        self._order = torch.from_numpy(np.argsort(names, kind="stable"))
        self._place = self._order.argsort()
        _, first, block, count = np.unique(
            names[self._order.numpy()], return_index=True, return_inverse=True, return_counts=True
        )
        self._first = torch.from_numpy(first[block])
        self._count = torch.from_numpy(count[block] if len(patients) > 1 else np.zeros(1, dtype=np.int64))

    def draw(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Return as many indices as `chosen` has, into the same slices."""
        places = self._place[chosen]
        first, count = self._first[places], self._count[places]  # what a row may not have is one block of the order
        fraction = torch.rand(len(chosen), generator=generator, dtype=torch.float64)
        other = (fraction * (len(self._order) - count)).long()
        return self._order[other + count * (other >= first)]

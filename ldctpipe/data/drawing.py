"""Which slices a batch is made of: drawn by patient or uniformly, and of other patients for unpaired methods."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Drawing = Literal["patients", "slices"]


class SliceDrawing:
    """Draws slices by their index into `patients`, which names the patient of each.

    With "patients" every patient has equal odds, and so has every slice of that patient: a long scan does not outweigh
    a short one. With "slices" every slice has equal odds.
    """

    def __init__(self, patients: npt.NDArray[np.object_], drawing: Drawing) -> None:
        self._by_patient = drawing == "patients"
        _, own, count = np.unique(patients, return_inverse=True, return_counts=True)
        self._own = torch.from_numpy(own)  # (slices,), the number of each one's patient
        self._order = torch.from_numpy(np.argsort(own, kind="stable"))  # slices, patient after patient
        self._count = torch.from_numpy(count)  # (patients,)
        self._first = torch.from_numpy(np.cumsum(count) - count)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return `count` slices; one may be drawn more than once."""
        if not self._by_patient:
            return torch.randint(len(self._own), (count,), generator=generator)
        return self._slices_of(torch.randint(len(self._count), (count,), generator=generator), generator)

    def draw_others(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Return for each chosen slice one of another patient; of a single patient, another of its slices."""
        own = self._own[chosen]
        if len(self._count) == 1:
            others = max(len(self._own) - 1, 1)
            further = 1 + (_fractions(len(chosen), generator) * others).long()
            return (chosen + further) % len(self._own)
        if self._by_patient:
            other = torch.randint(len(self._count) - 1, (len(chosen),), generator=generator)
            return self._slices_of(other + (other >= own), generator)
        first, count = self._first[own], self._count[own]  # what may not be drawn is one block of the order
        place = (_fractions(len(chosen), generator) * (len(self._order) - count)).long()
        return self._order[place + count * (place >= first)]

    def _slices_of(self, patients: Tensor, generator: torch.Generator) -> Tensor:
        fractions = _fractions(len(patients), generator)
        return self._order[self._first[patients] + (fractions * self._count[patients]).long()]


def _fractions(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, dtype=torch.float64)

"""Slices of other patients: never the same, all of them, with equal odds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ldctpipe.data.unpaired import OtherPatients


def drawn(patients: list[str], chosen: int, count: int = 20_000) -> np.ndarray:
    others = OtherPatients(np.array(patients, dtype=object))
    return others.draw(torch.full((count,), chosen), torch.Generator().manual_seed(5)).numpy()


@pytest.mark.parametrize("chosen", range(7))
def test_all_slices_of_other_patients_have_equal_odds(chosen):
    patients = ["P2", "P1", "P2", "P3", "P1", "P2", "P3"]  # in no order

    found = np.bincount(drawn(patients, chosen), minlength=len(patients)) / 20_000

    others = [patient != patients[chosen] for patient in patients]
    assert found == pytest.approx(np.array(others) / sum(others), abs=0.016)  # 4.5 standard errors


def test_one_patient_gives_another_slice():
    assert set(drawn(["P1"] * 3, 1)) == {0, 2}


def test_one_slice_has_no_other():
    assert set(drawn(["P1"], 0)) == {0}

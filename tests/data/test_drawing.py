"""Slices drawn by patient or uniformly, and slices of other patients, with the odds that they should have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ldctpipe.data.drawing import SliceDrawing

PATIENTS = ["P2", "P1", "P2", "P3", "P1", "P2", "P3"]  # in no order
COUNT = 20_000
MOST_OFF = 0.016  # 4.5 standard errors


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def drawing_of(patients: list[str], drawing: str) -> SliceDrawing:
    return SliceDrawing(np.array(patients, dtype=object), drawing)


def odds(slices: torch.Tensor, of: int) -> np.ndarray:
    return np.bincount(slices.numpy(), minlength=of) / len(slices)


def test_patients_have_equal_odds_and_so_have_the_slices_of_each():
    found = odds(drawing_of(PATIENTS, "patients").draw(COUNT, generator()), 7)

    expected = [1 / 3 / PATIENTS.count(patient) for patient in PATIENTS]
    assert found == pytest.approx(np.array(expected), abs=MOST_OFF)


def test_a_long_scan_does_not_outweigh_a_short_one():
    patients = ["long"] * 400 + ["short"] * 40

    by_patient = drawing_of(patients, "patients").draw(COUNT, generator())
    by_slice = drawing_of(patients, "slices").draw(COUNT, generator())

    assert float((by_patient >= 400).double().mean()) == pytest.approx(1 / 2, abs=MOST_OFF)
    assert float((by_slice >= 400).double().mean()) == pytest.approx(1 / 11, abs=MOST_OFF)
    assert set(by_patient.tolist()) == set(range(440))


def test_slices_may_have_equal_odds_instead():
    found = odds(drawing_of(PATIENTS, "slices").draw(COUNT, generator()), 7)

    assert found == pytest.approx(np.full(7, 1 / 7), abs=MOST_OFF)


@pytest.mark.parametrize("chosen", range(7))
@pytest.mark.parametrize("drawing", ["patients", "slices"])
def test_others_are_never_of_the_same_patient_and_have_equal_odds(drawing, chosen):
    others = drawing_of(PATIENTS, drawing).draw_others(torch.full((COUNT,), chosen), generator())

    weights = np.array(
        [
            (patient != PATIENTS[chosen]) / (PATIENTS.count(patient) if drawing == "patients" else 1)
            for patient in PATIENTS
        ]
    )
    assert odds(others, 7) == pytest.approx(weights / weights.sum(), abs=MOST_OFF)


@pytest.mark.parametrize("drawing", ["patients", "slices"])
def test_one_patient_gives_another_slice(drawing):
    others = drawing_of(["P1"] * 3, drawing).draw_others(torch.full((COUNT,), 1), generator())

    assert odds(others, 3) == pytest.approx(np.array([0.5, 0, 0.5]), abs=MOST_OFF)


@pytest.mark.parametrize("drawing", ["patients", "slices"])
def test_one_slice_has_no_other(drawing):
    only = drawing_of(["P1"], drawing)

    assert set(only.draw(20, generator()).tolist()) == {0}
    assert set(only.draw_others(torch.zeros(20, dtype=torch.long), generator()).tolist()) == {0}

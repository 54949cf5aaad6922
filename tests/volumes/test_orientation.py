"""Slices are shown as radiologists look at them, whatever way they are stored."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from ldctpipe.volumes.orientation import radiological


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_it_agrees_with_nibabels_reorientation(signs):
    stored = np.random.default_rng(0).normal(size=(5, 4, 3))  # (column, row, slice), as nibabel has it
    affine = np.diag([0.7 * signs[0], 0.7 * signs[1], 3.0, 1.0])
    # Columns run to the patient's left and rows to the back: L and P in nibabel's codes.
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(("L", "P", "S")))
    expected = nibabel.apply_orientation(stored, turn).T

    assert np.array_equal(radiological(stored.T, affine), expected)


def test_other_planes_stay_as_they_are():
    image = np.arange(12).reshape(3, 4)
    coronal = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])

    assert np.array_equal(radiological(image, coronal), image)

"""The binomial filter against scipy and its closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from ldctpipe.models.antialiasing import Binomial


@pytest.mark.parametrize(("side", "line"), [(3, [1, 2, 1]), (5, [1, 4, 6, 4, 1])])
def test_it_is_the_separable_binomial_filter(side, line):
    image = np.random.default_rng(0).normal(size=(20, 24)).astype(np.float32)
    weights = np.array(line) / sum(line)
    expected = ndimage.correlate1d(ndimage.correlate1d(image, weights, 0, mode="mirror"), weights, 1, mode="mirror")

    assert Binomial(side)(torch.tensor(image)[None, None])[0, 0].numpy() == pytest.approx(expected, abs=1e-6)


def test_a_mesh_of_two_pixels_is_removed_and_the_mean_stays():
    rows, columns = np.indices((16, 16))
    mesh = torch.tensor(5.0 + (-1.0) ** (rows + columns), dtype=torch.float32)[None, None]

    assert torch.allclose(Binomial(3)(mesh), torch.full_like(mesh, 5.0), atol=1e-6)


def test_a_side_of_one_is_no_filter():
    image = torch.rand(2, 3, 5, 5)

    assert Binomial(1)(image) is image

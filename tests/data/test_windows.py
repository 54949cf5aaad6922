"""Windows against numpy's own padding, wherever they lie, and the same from both ways to cut them."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ldctpipe.data.windows import cut_on_cpu, cut_on_device

IMAGES = np.random.default_rng(0).integers(-1000, 2000, (3, 2, 24, 20)).astype(np.int16)


@st.composite
def places(draw):
    """Windows that overlap their slice, as patches in it have; slices may be smaller than the array."""
    side = draw(st.integers(1, 30))
    rows, columns = draw(st.integers(1, 24)), draw(st.integers(1, 20))
    corner = st.tuples(st.integers(1 - side, rows - 1), st.integers(1 - side, columns - 1))
    corners = draw(st.lists(corner, min_size=1, max_size=5))
    slices = draw(st.lists(st.integers(0, 2), min_size=len(corners), max_size=len(corners)))
    return side, torch.tensor(slices), torch.tensor(corners), torch.tensor([[rows, columns]] * len(corners))


@settings(max_examples=200, deadline=None)
@given(places())
def test_windows_are_those_of_a_slice_whose_edge_repeats(place):
    side, slices, corners, sizes = place
    cut = np.empty((len(slices), 2, side, side), dtype=np.int16)

    cut_on_cpu(IMAGES, slices, corners, sizes, cut)

    for window, number, (row, column), (rows, columns) in zip(cut, slices, corners, sizes, strict=True):
        padded = np.pad(IMAGES[number, :, :rows, :columns], ((0, 0), (side, side), (side, side)), mode="edge")
        assert np.array_equal(window, padded[:, row + side :, column + side :][:, :side, :side])
    assert np.array_equal(cut, cut_on_device(torch.from_numpy(IMAGES), slices, corners, sizes, side))

"""The one map between HU and network values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ldctpipe.volumes.normalization import HuNormalization


def test_every_whole_hu_in_the_range_comes_back():
    hu = np.arange(-1000, 2001, dtype=np.float32)

    back = HuNormalization().denormalize(HuNormalization().normalize(hu))

    assert np.abs(back - hu).max() < 0.01
    assert np.array_equal(np.rint(back), hu)


def test_ends_and_clipping():
    values = HuNormalization().normalize(np.array([-3024.0, -1000.0, 500.0, 2000.0, 3071.0]))

    assert values.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_numpy_and_torch_agree():
    hu = np.linspace(-1500, 2500, 101, dtype=np.float32)

    assert np.array_equal(HuNormalization().normalize(torch.from_numpy(hu)).numpy(), HuNormalization().normalize(hu))


@given(st.floats(-5000, 5000), st.floats(1, 9000), st.floats(0, 1))
def test_it_inverts_for_any_range(lower, width, fraction):
    normalization = HuNormalization(lower, lower + width)
    hu = np.float64(lower + fraction * width)

    assert normalization.denormalize(normalization.normalize(hu)) == pytest.approx(hu, abs=1e-6)


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="empty"):
        HuNormalization(100, 100)

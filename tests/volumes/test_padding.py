"""Padding at one bit a pixel says the same as the mask that it was made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.volume import Volume

MASKS = arrays.arrays(bool, arrays.array_shapes(min_dims=3, max_dims=3, max_side=9))


@given(mask=MASKS, data=st.data())
def test_every_way_to_ask_gives_the_mask(mask: np.ndarray, data: st.DataObject) -> None:
    padding = Padding.of(mask)

    number = data.draw(st.integers(-len(mask), len(mask) - 1))
    chosen = np.array(data.draw(st.lists(st.integers(0, len(mask) - 1), min_size=1)))
    part = data.draw(st.slices(len(mask)))
    for index in (number, chosen, part, slice(None)):
        np.testing.assert_array_equal(padding[index], mask[index])
    np.testing.assert_array_equal(np.asarray(padding), mask)
    np.testing.assert_array_equal(np.asarray(padding, dtype=np.int16), mask.astype(np.int16))
    assert (padding.any(), padding.count(), len(padding), padding.shape) == (
        mask.any(),
        mask.sum(),
        len(mask),
        mask.shape,
    )


def test_numbers_other_than_zero_mark_padding() -> None:
    assert Padding.of(np.array([[[0, 2], [-3, 0]]])).count() == 2


def test_it_takes_a_sixteenth_of_the_hu() -> None:
    hu = np.zeros((3, 512, 512), dtype=np.int16)

    assert Padding.none(hu.shape).bits.nbytes == hu.nbytes / 16


def test_a_volume_is_measured_where_it_is_not_padded() -> None:
    hu = np.zeros((2, 3, 5), dtype=np.int16)
    mask = np.arange(30).reshape(hu.shape) % 7 == 0
    volume = Volume(hu, np.eye(4), np.arange(2.0), Padding.of(mask))

    np.testing.assert_array_equal(volume.measured(), ~mask)
    with pytest.raises(ValueError, match="padding has shape"):
        Volume(hu[:1], np.eye(4), np.arange(1.0), Padding.of(mask))

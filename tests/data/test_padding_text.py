"""Padding as text: what is written is read again, and other text is refused."""

from __future__ import annotations

import zlib
from base64 import b64encode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldctpipe.data.padding_text import as_text, of_text


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_a_mask_comes_back(rows, columns, seed):
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.3
    mask[0, 0] = True

    assert np.array_equal(of_text(as_text(mask), rows, columns), mask)


def test_a_circle_takes_little_room():
    rows, columns = np.mgrid[:512, :512] - 255.5

    assert len(as_text(np.hypot(rows, columns) > 256)) < 4000


def test_no_padding_is_no_text():
    assert as_text(None) == as_text(np.zeros((4, 4), dtype=bool)) == ""
    assert of_text("", 4, 4) is None


@pytest.mark.parametrize(
    "text",
    ["?", "AAAA", b64encode(zlib.compress(bytes(1))).decode(), b64encode(zlib.compress(bytes(10**8))).decode(), "ä"],
)
def test_another_text_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        of_text(text, 16, 16)

"""Stored words to values and HU, in place, against the same sums in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ldctpipe.dicom.hounsfield import become_whole_hu, rescaled
from ldctpipe.dicom.pixels import PixelFormat, padding_range

WORDS = arrays.arrays(np.uint16, (3, 4))


@st.composite
def pixel_formats(draw: st.DrawFn) -> PixelFormat:
    stored = draw(st.integers(1, 16))
    return PixelFormat(stored, draw(st.integers(stored - 1, 15)), draw(st.booleans()))


def value_of(word: int, pixel_format: PixelFormat) -> int:
    """One stored value by PS3.5 §8.1.1, bit by bit."""
    bits = [word >> place & 1 for place in range(pixel_format.shift, pixel_format.high_bit + 1)]
    value = sum(bit << place for place, bit in enumerate(bits))
    return value - (bits[-1] << len(bits)) if pixel_format.is_signed else value


@given(words=WORDS, pixel_format=pixel_formats())
def test_stored_values_are_the_bits_that_the_standard_names(words: np.ndarray, pixel_format: PixelFormat) -> None:
    expected = [[value_of(int(word), pixel_format) for word in row] for row in words]

    np.testing.assert_array_equal(pixel_format.values(words), expected)
    np.testing.assert_array_equal(pixel_format.values_in_place(words.copy()), expected)


@given(
    words=WORDS,
    is_signed=st.booleans(),
    slope=st.one_of(st.sampled_from([1.0, -1.0, 2.0, 0.5, 1e300]), st.integers(-40, 40).map(float), st.floats(-3, 3)),
    intercept=st.one_of(st.sampled_from([0.0, -1024.0, -8192.0, 0.5, -1e300]), st.integers(-70000, 70000).map(float)),
)
def test_hu_in_place_are_those_of_float64(words: np.ndarray, is_signed: bool, slope: float, intercept: float) -> None:
    values = words.view(np.int16) if is_signed else words
    exact = values.astype(np.float64) * slope + intercept
    fits = bool(((exact == np.rint(exact)) & (exact >= -32768) & (exact <= 32767)).all())
    before = values.copy()

    elsewhere = rescaled(values, slope, intercept)
    is_whole = become_whole_hu(values, slope, intercept)

    assert is_whole == fits == (elsewhere.dtype == np.int16)
    if fits:
        np.testing.assert_array_equal(values.view(np.int16), exact)
        np.testing.assert_array_equal(elsewhere, exact)
    else:
        np.testing.assert_array_equal(values, before)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(elsewhere, exact.astype(np.float32))


@pytest.mark.parametrize(
    ("first", "last", "is_signed", "expected"),
    [
        (None, None, True, None),
        (None, -2000, True, None),
        (-2000, None, True, (-2000, -2000)),
        (0x10000 - 2000, None, True, (-2000, -2000)),  # a signed value in a US attribute
        (-2000, None, False, (63536, 63536)),  # an unsigned one in an SS attribute
        (-1000, -2000, True, (-2000, -1000)),
        (0, 10, False, (0, 10)),
    ],
)
def test_padding_has_the_sign_of_the_pixels(first: int, last: int, is_signed: bool, expected: tuple) -> None:
    assert padding_range(first, last, PixelFormat(16, 15, is_signed)) == expected

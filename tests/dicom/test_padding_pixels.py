"""Which padding is believed: far below air anywhere, of air at the corners alone, of tissue never."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_dicom import body, write_ct, write_series

from ldctpipe.dicom.decoding import decode
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import InputError
from ldctpipe.volumes.volume import Volume

SHAPE = (64, 72)
ROWS, COLUMNS = np.indices(SHAPE)
OUTSIDE = np.hypot((ROWS - 31.5) / 32, (COLUMNS - 35.5) / 36) > 1
NOT_BELIEVED = "a declared padding value is also a value of tissue"


def volume_of(path: Path) -> Volume:
    (series,) = discover(path).series
    return read_volume(series)


def padded(volume: Volume) -> np.ndarray:
    return np.zeros(volume.hu.shape, bool) if volume.padding is None else volume.padding[:]


@pytest.mark.parametrize("hu", [-290, -100, 0, 45, 290])
def test_a_padding_value_of_tissue_is_not_believed(tmp_path: Path, hu: int) -> None:
    stored = body()
    stored[20:24, 30:34] = 1024 + hu
    write_ct(tmp_path / "image", stored, PixelPaddingValue=1024 + hu)

    volume = volume_of(tmp_path)

    assert not padded(volume).any()
    assert any(NOT_BELIEVED in warning for warning in volume.warnings)
    assert not decode(tmp_path / "image").padding.any()


def test_a_range_that_reaches_into_tissue_is_not_believed(tmp_path: Path) -> None:
    write_ct(tmp_path / "image", body(), PixelPaddingValue=0, PixelPaddingRangeLimit=1100)

    volume = volume_of(tmp_path)

    assert not padded(volume).any()
    assert any(NOT_BELIEVED in warning for warning in volume.warnings)


def test_a_value_of_tissue_that_no_pixel_has_is_no_news(tmp_path: Path) -> None:
    stored = body()
    stored[stored == 1100] = 1101
    write_ct(tmp_path / "image", stored, PixelPaddingValue=1100)

    assert volume_of(tmp_path).warnings == ("a single slice",)


@pytest.mark.parametrize(("value", "is_warned_of"), [(174, True), (4095, True), (0, False)])
def test_what_is_scattered_through_the_body_is_measured(tmp_path: Path, value: int, is_warned_of: bool) -> None:
    """Lung, metal at the end of the scale, and air clipped to the value around the circle."""
    scattered = (ROWS % 8 == 0) & (COLUMNS % 9 == 0) & ~OUTSIDE
    stored = np.where(OUTSIDE | scattered, np.uint16(value), body().clip(1, 4094))
    write_ct(tmp_path / "image", stored, PixelPaddingValue=value)

    volume = volume_of(tmp_path)

    np.testing.assert_array_equal(padded(volume)[0], OUTSIDE)
    assert any(NOT_BELIEVED in warning for warning in volume.warnings) == is_warned_of


@pytest.mark.parametrize("value", [-1500, -2000, -3024, -32768])
@pytest.mark.parametrize("is_declared", [False, True])
def test_fill_far_below_air_is_padding_wherever_it_is(tmp_path: Path, value: int, is_declared: bool) -> None:
    hu = body().astype(np.int16) - 1024
    hu[30, 30] = hu[OUTSIDE] = value
    declared = {"PixelPaddingValue": value} if is_declared else {}
    write_ct(tmp_path / "image", hu, RescaleIntercept=0, **declared)

    volume = volume_of(tmp_path)

    np.testing.assert_array_equal(padded(volume)[0], hu == value)
    assert volume.warnings == ("a single slice",)


def test_fill_beside_another_declared_value_is_padding_too(tmp_path: Path) -> None:
    hu = body().astype(np.int16) - 1024
    hu[OUTSIDE] = -2048
    write_ct(tmp_path / "image", hu, RescaleIntercept=0, PixelPaddingValue=-2000)

    np.testing.assert_array_equal(padded(volume_of(tmp_path))[0], OUTSIDE)


def test_fill_in_a_single_corner_is_padding(tmp_path: Path) -> None:
    corner = np.hypot(ROWS, COLUMNS) < 20
    hu = np.where(corner, np.int16(-2000), body().astype(np.int16) - 1024)
    write_ct(tmp_path / "image", hu, RescaleIntercept=0)

    np.testing.assert_array_equal(padded(volume_of(tmp_path))[0], corner)


@pytest.mark.parametrize("limits", [(0, 65535), (0, 4095)])
def test_padding_of_every_pixel_is_refused(tmp_path: Path, limits: tuple[int, int]) -> None:
    write_series(tmp_path, PixelPaddingValue=limits[0], PixelPaddingRangeLimit=limits[1])

    with pytest.raises(InputError, match="padding covers every pixel"):
        volume_of(tmp_path)


def test_a_slice_of_padding_alone_is_no_fault_of_the_others(tmp_path: Path) -> None:
    write_series(tmp_path, slices=2, PixelPaddingValue=0)
    write_ct(tmp_path / "empty", np.zeros(SHAPE, np.uint16), 6.0, PixelPaddingValue=0)

    assert padded(volume_of(tmp_path)).mean(axis=(1, 2)).tolist()[2] == 1

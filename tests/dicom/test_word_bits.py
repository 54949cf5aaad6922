"""Bits outside BitsStored: overlays and signs are left out, values that are larger than BitsStored are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from small_dicom import body, ct_dataset, write_ct

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import InputError
from ldctpipe.volumes.volume import Volume

TWELVE = {"BitsStored": 12, "HighBit": 11}
TEXT = np.zeros((64, 72), bool)
TEXT[20:24, 10:60:3] = True
IGNORED = "bits outside BitsStored are set"


def volume_of(path: Path) -> Volume:
    (series,) = discover(path).series
    return read_volume(series)


@pytest.mark.parametrize("metal", [4096, 5000, 8000, 20000, 40000])
@pytest.mark.parametrize("side", [1, 4, 12])
def test_values_larger_than_bits_stored_are_refused(tmp_path: Path, metal: int, side: int) -> None:
    stored = body()
    stored[30 : 30 + side, 30 : 30 + side] = metal
    write_ct(tmp_path / "image", stored, **TWELVE)

    with pytest.raises(InputError, match="larger values than the 12 bits of BitsStored"):
        volume_of(tmp_path)


def test_positive_values_beyond_bits_stored_are_refused_where_signs_are_extended(tmp_path: Path) -> None:
    hu = body().astype(np.int16) - 1024
    hu[30:34, 30:34] = 3000
    write_ct(tmp_path / "image", hu, RescaleIntercept=0, **TWELVE)

    with pytest.raises(InputError, match="larger values than the 12 bits"):
        volume_of(tmp_path)


@pytest.mark.parametrize("is_extended", [False, True])
def test_signs_are_read_whether_they_are_extended_or_not(tmp_path: Path, is_extended: bool) -> None:
    hu = body().astype(np.int16) - 1024
    words = hu if is_extended else hu & 0x0FFF
    write_ct(tmp_path / "image", words, RescaleIntercept=0, **TWELVE)

    volume = volume_of(tmp_path)

    np.testing.assert_array_equal(volume.hu[0], hu)
    assert volume.warnings == ("a single slice",)


@pytest.mark.parametrize("plane", [0, 1])
def test_a_declared_overlay_is_left_out_without_a_word(tmp_path: Path, plane: int) -> None:
    image = ct_dataset(np.where(TEXT, body() | 0x4000, body()), **TWELVE)
    image.add_new(0x60000100 + (plane << 17), "US", 16)
    image.add_new(0x60000102 + (plane << 17), "US", 14)
    pydicom.dcmwrite(tmp_path / "image", image, enforce_file_format=True)

    volume = volume_of(tmp_path)

    np.testing.assert_array_equal(volume.hu[0], body().astype(int) - 1024)
    assert volume.warnings == ("a single slice",)


@pytest.mark.parametrize("bit", [12, 15])
def test_an_overlay_without_its_declaration_is_left_out_with_a_warning(tmp_path: Path, bit: int) -> None:
    """Anonymizers remove group 60xx and leave the bits."""
    write_ct(tmp_path / "image", np.where(TEXT, body() | np.uint16(1 << bit), body()), **TWELVE)

    volume = volume_of(tmp_path)

    np.testing.assert_array_equal(volume.hu[0], body().astype(int) - 1024)
    assert any(IGNORED in warning for warning in volume.warnings)


def test_an_overlay_in_another_bit_does_not_excuse_larger_values(tmp_path: Path) -> None:
    stored = np.where(TEXT, body() | 0x8000, body())
    stored[30:34, 30:34] = 5000
    image = ct_dataset(stored, **TWELVE)
    image.add_new(0x60000102, "US", 15)
    pydicom.dcmwrite(tmp_path / "image", image, enforce_file_format=True)

    with pytest.raises(InputError, match="larger values than the 12 bits"):
        volume_of(tmp_path)

"""HU, padding and geometry against SimpleITK, closed forms and other encodings of the same pixels."""

from __future__ import annotations

import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from small_dicom import body, ct_dataset, write_ct, write_series

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series
from ldctpipe.errors import InputError
from ldctpipe.volumes.volume import Volume

REAL_SERIES = ["body", "head_ge_tilted", "phantom_philips_5mm", "phantom_philips_tilted"]


def volume_of(path: Path) -> Volume:
    (series,) = discover(path).series
    return read_volume(series)


def by_simpleitk(series: Series) -> list[sitk.Image]:
    return [sitk.ReadImage(str(image.path)) for image in series.slices]


@pytest.mark.parametrize("name", REAL_SERIES)
def test_hu_of_real_series_are_those_of_simpleitk(real_data: Path, name: str) -> None:
    for series in discover(real_data / name).series:
        expected = np.concatenate([sitk.GetArrayFromImage(image) for image in by_simpleitk(series)])

        volume = read_volume(series)

        assert volume.hu.dtype == np.int16
        np.testing.assert_array_equal(volume.hu, expected)


@pytest.mark.parametrize("name", ["body", "phantom_philips_5mm", "phantom_philips_tilted"])
def test_affine_puts_every_pixel_where_simpleitk_does(real_data: Path, name: str) -> None:
    for series in discover(real_data / name).series:
        for number, image in enumerate(by_simpleitk(series)):
            for column, row in ((0, 0), (511, 0), (0, 511), (200, 317)):
                left, posterior, superior = image.TransformIndexToPhysicalPoint((column, row, 0))
                there = series.affine @ (column, row, number, 1)
                np.testing.assert_allclose(there[:3], (-left, -posterior, superior), atol=2e-3)


def test_ge_padding_is_marked_and_keeps_its_hu(real_data: Path) -> None:
    (series,) = discover(real_data / "body" / "A002304" / "19001231-076.dcm").series

    volume = read_volume(series)

    assert volume.padding is not None
    assert set(np.unique(volume.hu[volume.padding])) == {-3024}  # −2000 stored, intercept −1024
    assert volume.hu[volume.measured()].min() >= -1024
    assert volume.padding[:].mean() == pytest.approx(1 - np.pi / 4, abs=0.01)  # what lies around a circle


def test_padding_that_toshiba_does_not_declare_is_marked_too(real_data: Path) -> None:
    (series,) = discover(real_data / "body" / "A067967" / "19001231-270.dcm").series

    volume = read_volume(series)

    assert volume.padding is not None
    assert set(np.unique(volume.hu[volume.padding])) == {-2048}
    assert volume.hu[volume.measured()].min() > -1200
    assert volume.acquisition.manufacturer == "TOSHIBA"


def test_slices_have_their_own_slope_and_intercept(tmp_path: Path) -> None:
    write_ct(tmp_path / "a", body(1), 0.0)
    write_ct(tmp_path / "b", body(1) // 2, 3.0, RescaleSlope=2, RescaleIntercept=-1024)

    volume = volume_of(tmp_path)

    np.testing.assert_array_equal(volume.hu[0], body(1).astype(int) - 1024)
    np.testing.assert_array_equal(volume.hu[1], 2 * (body(1).astype(int) // 2) - 1024)


def test_fractional_slopes_give_float_hu_only_where_the_values_are_not_whole(tmp_path: Path) -> None:
    write_ct(tmp_path / "half" / "a", 2 * body() + 1, RescaleSlope="0.5")
    write_ct(tmp_path / "whole" / "a", body() * 2, RescaleSlope="0.5")

    half, whole = volume_of(tmp_path / "half"), volume_of(tmp_path / "whole")

    assert (half.hu.dtype, whole.hu.dtype) == (np.float32, np.int16)
    np.testing.assert_array_equal(half.hu[0], body() - 1023.5)
    np.testing.assert_array_equal(whole.hu[0], body().astype(int) - 1024)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_bits_stored_do_not_reach_the_hu(tmp_path: Path, signed: bool) -> None:
    hu = body().astype(np.int32) - 1024
    stored = hu if signed else hu + 1024
    overlay = np.random.default_rng(0).integers(0, 16, hu.shape) << 12
    words = ((stored & 0x0FFF) | overlay).astype(np.uint16)
    words = words.view(np.int16) if signed else words
    bits = {"BitsStored": 12, "HighBit": 11, "RescaleIntercept": 0 if signed else -1024}
    write_ct(tmp_path / "image", words, **bits)

    np.testing.assert_array_equal(volume_of(tmp_path).hu[0], hu)


def test_padding_range_marks_everything_between_its_limits(tmp_path: Path) -> None:
    stored = body().astype(np.int16)
    stored[0, :3] = (-2000, -1990, -1500)
    image = ct_dataset(stored)
    image.add_new(0x00280120, "US", 0x10000 - 2000)  # a scanner that writes the wrong VR
    image.add_new(0x00280121, "SS", -1600)
    pydicom.dcmwrite(tmp_path / "image", image, enforce_file_format=True)

    volume = volume_of(tmp_path)

    assert volume.padding is not None
    assert volume.padding[0][0, :4].tolist() == [True, True, False, False]
    assert volume.padding.count() == 2


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_encodings_hold_the_same_hu(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    image = ct_dataset(body())
    image.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(tmp_path / "image", image, enforce_file_format=True)

    np.testing.assert_array_equal(volume_of(tmp_path).hu[0], body().astype(int) - 1024)


def test_big_endian_holds_the_same_hu(tmp_path: Path) -> None:
    image = ct_dataset(body())
    image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    image.PixelData = body().astype(">u2").tobytes()
    pydicom.dcmwrite(tmp_path / "image", image, enforce_file_format=True, implicit_vr=False, little_endian=False)

    np.testing.assert_array_equal(volume_of(tmp_path).hu[0], body().astype(int) - 1024)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_compressions_hold_the_same_hu(tmp_path: Path, syntax: pydicom.uid.UID, signed: bool) -> None:
    stored = body().astype(np.int16) - 1024 if signed else body()
    image = ct_dataset(stored, RescaleIntercept=0 if signed else -1024)
    image.compress(syntax, generate_instance_uid=False)
    pydicom.dcmwrite(tmp_path / "image", image, enforce_file_format=True)

    np.testing.assert_array_equal(volume_of(tmp_path).hu[0], body().astype(int) - 1024)


def test_a_cut_compressed_file_is_refused_before_decoding(tmp_path: Path) -> None:
    image = ct_dataset(body())
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    pydicom.dcmwrite(tmp_path / "image.dcm", image, enforce_file_format=True)
    content = (tmp_path / "image.dcm").read_bytes()
    (tmp_path / "image.dcm").write_bytes(content[:-40])

    with pytest.raises(InputError, match="cut short"):
        discover(tmp_path)


def test_garbage_in_place_of_a_codestream_is_one_sentence(tmp_path: Path) -> None:
    image = ct_dataset(body())
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    image.PixelData = encapsulate([bytes(range(256)) * 4])
    pydicom.dcmwrite(tmp_path / "image", image, enforce_file_format=True)

    with pytest.raises(InputError, match="damaged"):
        volume_of(tmp_path)


def test_series_whose_intercept_was_lost_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, RescaleIntercept=0)

    with pytest.raises(InputError, match=r"its values can't be HU: .* was lost"):
        volume_of(tmp_path)


def test_what_a_bad_model_made_is_read_so_that_it_can_be_measured(tmp_path: Path) -> None:
    write_series(tmp_path, RescaleIntercept=0)
    (series,) = discover(tmp_path).series

    volume = read_volume(replace(series, is_denoised=True))

    assert volume.hu.min() >= 0


def test_a_slice_of_nothing_but_air_is_read_with_a_warning(tmp_path: Path) -> None:
    air = np.random.default_rng(0).normal(24, 12, (64, 64)).round().clip(0).astype(np.uint16)
    write_ct(tmp_path / "noise" / "image", air)
    write_ct(tmp_path / "constant" / "image", np.full((16, 16), 24, np.uint16))

    assert any("air or lung alone" in warning for warning in volume_of(tmp_path / "noise").warnings)
    with pytest.raises(InputError, match="nothing but the value -1000"):
        volume_of(tmp_path / "constant")


def test_what_the_header_says_about_the_scan_arrives(real_data: Path) -> None:
    volume = volume_of(real_data / "phantom_philips_5mm")

    taken = volume.acquisition
    assert (taken.kernel, taken.kvp, taken.slice_thickness_mm) == ("UB", 120.0, 5.0)
    assert taken.tube_current_ma is not None
    assert len(taken.tube_current_ma) == len(volume.hu) == 28
    np.testing.assert_allclose(np.diff(volume.positions_mm), 5.0, atol=1e-6)


def test_one_slice_that_is_not_whole_makes_the_volume_float_and_keeps_the_padding(tmp_path: Path) -> None:
    stored = body().astype(np.int32)
    stored[:, :9] = 4095
    for index in range(4):
        slope = {"RescaleSlope": "0.5"} if index == 3 else {}
        own = np.where(stored == 4095, 4095, 2 * stored + 1) if index == 3 else stored
        write_ct(tmp_path / str(index), own.astype(np.uint16), 3.0 * index, PixelPaddingValue=4095, **slope)

    volume = volume_of(tmp_path)

    assert volume.hu.dtype == np.float32
    np.testing.assert_array_equal(volume.hu[2], stored - 1024)
    np.testing.assert_array_equal(volume.hu[3], np.where(stored == 4095, 4095 / 2, stored + 0.5) - 1024)
    assert volume.padding is not None
    np.testing.assert_array_equal(np.asarray(volume.padding), np.stack([stored == 4095] * 4))


def test_hu_beyond_int16_are_float(tmp_path: Path) -> None:
    stored = body()
    stored[0, 0] = 40000
    write_ct(tmp_path / "image", stored)

    volume = volume_of(tmp_path)

    assert volume.hu.dtype == np.float32
    np.testing.assert_array_equal(volume.hu[0], stored.astype(int) - 1024)


def test_hu_beyond_every_ct_scale_are_refused(tmp_path: Path) -> None:
    write_ct(tmp_path / "image", body(), RescaleSlope=60000)

    with pytest.raises(InputError, match="its values can't be HU"):
        volume_of(tmp_path)


def test_padding_that_does_not_fit_bits_stored_is_marked(tmp_path: Path) -> None:
    """Siemens and others: 12 bits stored, padding −2000 as a whole word; masked to 12 bits it would read as 48."""
    stored = body().astype(np.int16) - 1024
    stored[stored == 48] = 49
    padded = np.where(np.indices(stored.shape)[0] < 5, np.int16(-2000), stored)
    bits = {"BitsStored": 12, "HighBit": 11, "RescaleIntercept": 0}
    write_ct(tmp_path / "image", padded, PixelPaddingValue=-2000, **bits)

    volume = volume_of(tmp_path)

    assert volume.padding is not None
    np.testing.assert_array_equal(volume.padding[0], padded == -2000)
    np.testing.assert_array_equal(volume.hu[0][5:], stored[5:])


@pytest.mark.parametrize("change", ["touched", "shortened", "replaced", "gone"])
def test_a_file_that_changes_after_discovery_is_one_sentence(tmp_path: Path, change: str) -> None:
    (series,) = discover(write_series(tmp_path)).series
    path = series.slices[1].path
    if change == "touched":
        os.utime(path, ns=(0, series.slices[1].pixels.modified_ns + 1))
    elif change == "shortened":
        path.write_bytes(path.read_bytes()[:-10])
    elif change == "replaced":
        write_ct(path, body(7), 3.0)
    else:
        path.unlink()

    with pytest.raises(InputError, match="No such file" if change == "gone" else "changed while it was read") as fault:
        read_volume(series)

    assert str(fault.value).startswith(str(path))


def test_reading_takes_little_more_memory_than_the_volume(tmp_path: Path) -> None:
    stored = np.zeros((256, 256), np.uint16) + np.arange(256, dtype=np.uint16) * 8
    stored[:64] = 0
    for index in range(80):
        attributes = {"SOPInstanceUID": f"1.2.3.{index}", "PixelPaddingValue": 0}
        write_ct(tmp_path / str(index), stored, float(index), **attributes)
    tracemalloc.start()

    volume = volume_of(tmp_path)

    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert volume.padding is not None
    assert peak_bytes < 1.3 * volume.hu.nbytes


def test_threads_change_nothing(real_data: Path) -> None:
    (series,) = discover(real_data / "head_ge_tilted").series

    one, many = read_volume(series, threads=1), read_volume(series, threads=5)

    np.testing.assert_array_equal(one.hu, many.hu)
    assert one.padding is not None
    assert many.padding is not None
    np.testing.assert_array_equal(one.padding.bits, many.padding.bits)


def test_a_refused_series_is_told_by_its_key_and_not_by_its_folder(tmp_path: Path) -> None:
    (series,) = discover(write_series(tmp_path / "Doe_Jane", RescaleIntercept=0)).series

    with pytest.raises(InputError) as refusal:
        read_volume(series)

    assert str(refusal.value).startswith(f"series {series.key}: ")
    assert "Doe" not in str(refusal.value)


@pytest.mark.parametrize("number", [0, 3, 5])
@pytest.mark.parametrize("slope", [0.5, 2])
def test_a_slope_that_one_header_has_and_its_pixels_have_not_is_refused(
    tmp_path: Path, number: int, slope: float
) -> None:
    for index in range(6):
        write_ct(tmp_path / str(index), body(index), 3.0 * index, RescaleSlope=slope if index == number else 1)

    with pytest.raises(InputError, match="can't be HU"):
        read_volume(discover(tmp_path).series[0])


@pytest.mark.parametrize("slopes", [(1, 2, 3), (1, 1.001, 0.999)])
def test_slices_stored_with_slopes_of_their_own_are_read(tmp_path: Path, slopes: tuple[float, ...]) -> None:
    for index in range(6):
        slope = slopes[index % 3]
        stored = (body(index) // slope).astype(np.uint16)
        write_ct(tmp_path / str(index), stored, 3.0 * index, RescaleSlope=slope)

    assert abs(int(read_volume(discover(tmp_path).series[0]).hu.min()) + 1024) < 50

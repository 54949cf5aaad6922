"""NIfTI in and out: HU to the bit, the place of voxels to the bit, and one sentence for what can't be HU."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from noisy_body import noisy_body
from small_dicom import write_series

from ldctpipe.data.scans import load_volume
from ldctpipe.errors import InputError
from ldctpipe.volumes.nifti import nifti_slices, read_nifti, write_nifti

TILTED = np.array([[-0.7, 0.02, 0.1, 80.0], [0.01, -0.8, 0.3, 120.0], [0.0, 0.1, 2.5, -900.0], [0, 0, 0, 1]])


def stack(slices: int = 3, side: int = 48) -> np.ndarray:
    """HU as a file holds them: (column, row, slice)."""
    return noisy_body(slices, side, seed=1)[0].transpose(2, 1, 0)[:, :-6]


def saved(path: Path, values: np.ndarray, affine: np.ndarray | None = None, **fields: Any) -> Path:
    """Write `values` with nibabel alone; `fields` go into the header."""
    image = nibabel.Nifti1Image(values, np.diag([-0.7, -0.7, 3, 1.0]) if affine is None else affine, dtype=values.dtype)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def patched(path: Path, offset: int, field: bytes) -> Path:
    """Overwrite a header field in a file, which nibabel would put right on writing."""
    content = bytearray(path.read_bytes())
    content[offset : offset + len(field)] = field
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "SCAN.NII.GZ"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "i4", "i8", "f4", "f8"])
def test_whole_hu_come_back_as_int16_whatever_holds_them(tmp_path: Path, name: str, dtype: str) -> None:
    values = stack()

    volume = read_nifti(saved(tmp_path / name, values.astype(dtype)))

    assert volume.hu.dtype == np.int16
    assert volume.hu.dtype.isnative
    np.testing.assert_array_equal(volume.hu, values.transpose(2, 1, 0))


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_single_slices_are_those_of_the_volume(tmp_path: Path, name: str) -> None:
    image = nibabel.Nifti1Image(
        (2 * stack(5) + 2048).clip(0).astype(np.uint16)[..., None], np.eye(4)
    )  # 4-D, of one time
    image.header.set_slope_inter(0.5, -1024)
    nibabel.save(image, tmp_path / name)

    chosen = list(nifti_slices(tmp_path / name, [0, 2, 4]))

    np.testing.assert_allclose(chosen, read_nifti(tmp_path / name).hu[::2], atol=1e-3)


def test_single_slices_of_a_damaged_file_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "cut.nii.gz", stack(5))
    content = (tmp_path / "cut.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    values = stack(3).astype(np.float32)
    values[0, 0, 2] = np.nan

    with pytest.raises(InputError, match=r"cut\.nii\.gz: can't be read as NIfTI"):
        list(nifti_slices(tmp_path / "cut.nii.gz", [0, 4]))
    with pytest.raises(InputError, match="no numbers"):
        list(nifti_slices(saved(tmp_path / "nan.nii", values), [0, 2]))


def test_slope_and_intercept_of_the_header_count(tmp_path: Path) -> None:
    hu = stack()
    image = nibabel.Nifti1Image((hu + 1024).clip(0).astype(np.uint16), np.eye(4))
    image.header.set_slope_inter(1, -1024)
    nibabel.save(image, tmp_path / "offset.nii")
    half = nibabel.Nifti1Image((2 * hu + 1).astype(np.int16), np.eye(4))
    half.header.set_slope_inter(0.5, 0)
    nibabel.save(half, tmp_path / "half.nii")

    np.testing.assert_array_equal(read_nifti(tmp_path / "offset.nii").hu, hu.clip(-1024).transpose(2, 1, 0))
    halved = read_nifti(tmp_path / "half.nii").hu
    assert halved.dtype == np.float32
    np.testing.assert_array_equal(halved, hu.transpose(2, 1, 0) + np.float32(0.5))


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_slope_of_zero_or_nan_means_none(tmp_path: Path, slope: float) -> None:
    scaling = np.array([slope, 7.0], dtype="<f4").tobytes()

    path = patched(saved(tmp_path / "scan.nii", stack()), 112, scaling)

    np.testing.assert_array_equal(read_nifti(path).hu, stack().transpose(2, 1, 0))


def test_a_fourth_axis_of_length_one_is_dropped(tmp_path: Path) -> None:
    assert read_nifti(saved(tmp_path / "scan.nii", stack()[..., None])).hu.shape == (3, 42, 48)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (np.zeros((4, 4), np.int16), "instead of 3 dimensions"),
        (np.zeros((4, 4, 3, 2), np.int16), "instead of 3 dimensions"),
        (np.zeros((4, 4, 3, 1, 3), np.float32), "instead of 3 dimensions"),
        (np.zeros((4, 4, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colours or complex"),
        (np.zeros((4, 4, 3), np.complex64), "colours or complex"),
        (np.zeros((4, 4, 3), np.int16), "nothing but the value 0"),
        (stack() / 1e4, "normalized, not HU"),
        (((stack() + 1000) / 5.3).clip(0, 255).astype(np.uint8), "grey values from 0 to"),
        ((stack() > 0).astype(np.uint8) + (stack() > 100), "map of labels"),
        ((stack() + 1024).clip(0).astype(np.int16), "intercept to HU .* was lost"),
        ((stack() / 10 - 900).astype(np.int16), "nothing denser than -300 HU"),
        (stack() * 1e3, "which can't be HU"),
        (np.where(stack() < -900, np.nan, stack()), "no numbers"),
        (np.where(stack() < -900, -np.inf, stack()), "no numbers"),
    ],
)
def test_what_cannot_be_hu_is_refused_with_one_sentence(tmp_path: Path, values: np.ndarray, fault: str) -> None:
    values = values.astype(np.float32) if values.dtype == np.float64 else values

    with pytest.raises(InputError, match=fault) as refusal:
        read_nifti(saved(tmp_path / "scan.nii", values))

    assert "\n" not in str(refusal.value)


def test_real_ct_is_hu_in_any_form(real_data: Path, tmp_path: Path) -> None:
    volume = load_volume(real_data / "head_ge_tilted")
    write_nifti(tmp_path / "head.nii.gz", volume.hu, volume.affine)

    np.testing.assert_array_equal(read_nifti(tmp_path / "head.nii.gz").hu, volume.hu)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_file_cut_at_any_place_is_refused_or_whole(tmp_path: Path, name: str) -> None:
    content = saved(tmp_path / name, stack()).read_bytes()

    for length in [*range(0, 400, 23), *range(400, len(content), 997)]:
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(InputError):
            read_nifti(tmp_path / name)


def test_no_damaged_byte_of_the_header_is_a_bug(tmp_path: Path) -> None:
    whole = saved(tmp_path / "scan.nii", stack()).read_bytes()
    for position, value in itertools.product(range(348), (0x00, 0x7F, 0xFF)):
        content = bytearray(whole)
        content[position] = value
        (tmp_path / "scan.nii").write_bytes(content)
        try:
            assert read_nifti(tmp_path / "scan.nii").hu.ndim == 3
        except InputError as refusal:
            assert "\n" not in str(refusal)


def test_a_header_that_promises_terabytes_takes_no_memory(tmp_path: Path) -> None:
    plain = saved(tmp_path / "scan.nii", stack())
    content = bytearray(plain.read_bytes())
    content[40:48] = np.array([3, 4096, 4096, 16384], dtype="<i2").tobytes()
    plain.write_bytes(content)
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(content))
    content[42:48] = np.array([32767] * 3, dtype="<i2").tobytes()
    (tmp_path / "larger.nii").write_bytes(content)

    for name, fault in (("scan.nii", "cut short"), ("scan.nii.gz", "cut short"), ("larger.nii", "no CT volume has")):
        with pytest.raises(InputError, match=fault):
            read_nifti(tmp_path / name)


def test_folders_pairs_and_other_content_under_the_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "text.nii").write_text("no image")
    nibabel.save(nibabel.Nifti1Pair(stack(), np.eye(4)), tmp_path / "pair.hdr")
    (tmp_path / "half.nii").write_bytes((tmp_path / "pair.hdr").read_bytes())

    for name in ("folder.nii", "text.nii", "half.nii"):
        with pytest.raises(InputError, match=name):
            read_nifti(tmp_path / name)
    for name in ("pair.hdr", "pair.img"):
        with pytest.raises(InputError, match=r"one \.nii file"):
            load_volume(tmp_path / name)


def test_the_unit_of_length_counts(tmp_path: Path) -> None:
    metres = saved(tmp_path / "scan.nii", stack(), np.diag([-0.0007, -0.0007, 0.003, 1]), xyzt_units=1)

    np.testing.assert_allclose(read_nifti(metres).spacing_mm, (3, 0.7, 0.7), rtol=1e-6)


def test_positions_of_a_sheared_stack_are_along_the_normal(tmp_path: Path) -> None:
    affine = np.diag([-0.7, -0.7, 3.0, 1.0])
    affine[1, 2] = 1.0  # gantry tilt

    volume = read_nifti(saved(tmp_path / "scan.nii", stack(), affine))

    np.testing.assert_allclose(volume.positions_mm, [0, 3, 6])


def test_an_affine_that_is_no_place_is_refused_or_warned_of(tmp_path: Path) -> None:
    flat = patched(saved(tmp_path / "flat.nii", stack()), 312, bytes(16))  # srow_z
    silent = patched(saved(tmp_path / "silent.nii", stack()), 252, bytes(4))  # qform_code and sform_code
    coronal = saved(
        tmp_path / "coronal.nii", stack(), np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    )

    with pytest.raises(InputError, match="in a plane or nowhere"):
        read_nifti(flat)
    assert "doesn't say where" in read_nifti(silent).warnings[0]
    assert "coronal" in read_nifti(coronal).warnings[0]


@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (1, 1), (3, 4), (0, 0)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_the_place_of_a_source_is_kept_to_the_bit_and_nothing_else_of_it(
    tmp_path: Path, codes: tuple[int, int], kind: type
) -> None:
    values = stack()
    image = kind(values, TILTED)
    image.set_qform(np.diag([0.7, 0.8, 2.5, 1]), code=codes[0])
    image.set_sform(TILTED, code=codes[1])
    image.header["descrip"], image.header["xyzt_units"] = b"Doe^Jane", 2
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Doe^Jane"))
    nibabel.save(image, tmp_path / "source.nii")
    volume = read_nifti(tmp_path / "source.nii")

    write_nifti(tmp_path / "copy.nii", volume.hu, volume.affine, like=tmp_path / "source.nii")

    source, copy = (nibabel.load(tmp_path / name) for name in ("source.nii", "copy.nii"))
    assert type(copy) is kind
    for field in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "srow_x", "srow_y"):
        assert source.header[field].tobytes() == copy.header[field].tobytes(), field
    assert source.header["pixdim"][:4].tobytes() == copy.header["pixdim"][:4].tobytes()
    np.testing.assert_array_equal(source.affine, copy.affine)
    np.testing.assert_array_equal(copy.get_fdata(), values)
    assert b"Doe" not in (tmp_path / "copy.nii").read_bytes()


@pytest.mark.parametrize("tilted", [False, True])
def test_written_forms_name_the_scanner_and_agree_where_both_can(tmp_path: Path, tilted: bool) -> None:
    affine = np.diag([-0.7, -0.8, 2.5, 1.0])
    affine[1, 2] = 0.9 if tilted else 0.0

    write_nifti(tmp_path / "scan.nii", stack().transpose(2, 1, 0), affine)

    header = nibabel.load(tmp_path / "scan.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0 if tilted else 1)
    np.testing.assert_allclose(header.get_sform(), affine, atol=1e-6)
    if not tilted:
        np.testing.assert_allclose(header.get_qform(), affine, atol=1e-6)


@pytest.mark.parametrize("name", ["phantom_philips_5mm", "small"])
def test_dicom_written_as_nifti_lies_where_simpleitk_puts_it(tmp_path: Path, request: Any, name: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    oblique = [0.8, 0.6, 0, -0.6, 0.8, 0]
    folder = (
        write_series(tmp_path / "small", slices=4, ImageOrientationPatient=oblique)
        if name == "small"
        else request.getfixturevalue("real_data") / name
    )
    volume = load_volume(folder)
    write_nifti(tmp_path / "ours.nii", volume.hu, volume.affine)

    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    theirs, ours = sitk.ReadImage(files), sitk.ReadImage(str(tmp_path / "ours.nii"))

    assert ours.GetSize() == theirs.GetSize()
    for index in ((0, 0, 0), (10, 20, 2), (40, 5, 3)):
        point = theirs.TransformIndexToPhysicalPoint(index)
        assert ours[ours.TransformPhysicalPointToIndex(point)] == theirs[index]
        np.testing.assert_allclose(
            ours.TransformIndexToPhysicalPoint(ours.TransformPhysicalPointToIndex(point)), point, atol=1e-3
        )


@pytest.mark.parametrize("value", [-1500, -2000, -2048, -3024, -32768])
def test_fill_around_the_circle_is_padding_as_in_dicom(tmp_path: Path, value: int) -> None:
    columns, rows = np.indices((48, 42))
    outside = np.hypot((columns - 23.5) / 24, (rows - 20.5) / 21) > 1
    values = np.where(outside[..., None], np.int16(value), stack())

    volume = read_nifti(saved(tmp_path / "scan.nii", values))

    assert volume.padding is not None
    np.testing.assert_array_equal(volume.padding[:], (values == value).transpose(2, 1, 0))
    assert volume.warnings == ()


def test_air_around_the_circle_is_no_padding_and_padding_alone_no_scan(tmp_path: Path) -> None:
    assert read_nifti(saved(tmp_path / "scan.nii", stack().clip(-1024))).padding is None
    with pytest.raises(InputError, match="nothing but padding"):
        read_nifti(saved(tmp_path / "empty.nii", np.full((40, 40, 3), -3024, np.int16)))


@pytest.mark.parametrize(("scale", "offset"), [(1, -1024), (1, 1024), (10, 0), (0.1, 0), (-1, 0), (0.00019, 0.19)])
def test_nifti_on_another_scale_is_refused_as_dicom_is(tmp_path: Path, scale: float, offset: float) -> None:
    with pytest.raises(InputError, match=" holds "):
        read_nifti(saved(tmp_path / "scan.nii", (stack() * scale + offset).astype(np.float32)))


@pytest.mark.parametrize(
    ("sizes_mm", "fault"),
    [
        ((1e-9, 1e-9, 3), "in a plane or nowhere"),
        ((0.001, 0.001, 3), "pixel spacing that no CT has"),
        ((700, 700, 3000), "pixel spacing that no CT has"),
        ((0.5, 4, 3), "pixel spacing that no CT has"),
        ((0.7, 0.7, 3000), "slices 3e\\+03 mm apart"),
        ((0.7, 0.7, 0.001), "slices 0.001 mm apart"),
    ],
)
def test_voxels_that_no_ct_has_are_refused(tmp_path: Path, sizes_mm: tuple[float, ...], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        read_nifti(saved(tmp_path / "scan.nii", stack(), np.diag([*sizes_mm, 1.0])))


@pytest.mark.parametrize(("row", "column"), [(0, 1), (0, 2), (1, 2)])
def test_axes_that_no_gantry_has_are_refused(tmp_path: Path, row: int, column: int) -> None:
    affine = np.diag([-0.7, -0.7, 1.5, 1.0])
    affine[row, column] = 4.0 if column == 2 else 0.7

    with pytest.raises(InputError, match="not at right angles"):
        read_nifti(saved(tmp_path / "scan.nii", stack(), affine))


@pytest.mark.parametrize("sizes_mm", [(0.02, 0.02, 0.02), (0.35, 0.35, 0.4), (0.98, 0.98, 10), (2, 2, 60)])
def test_voxels_of_odd_scanners_are_read(tmp_path: Path, sizes_mm: tuple[float, ...]) -> None:
    assert read_nifti(saved(tmp_path / "scan.nii", stack(), np.diag([*sizes_mm, 1.0]))).warnings == ()

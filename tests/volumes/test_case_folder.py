"""Cases and NIfTI: what is written comes back, and other tools see the same volume."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from ldctpipe.errors import InputError
from ldctpipe.volumes.case import read_case, write_case
from ldctpipe.volumes.nifti import read_nifti, write_nifti
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.volume import Acquisition, Volume

AFFINE = np.array([[-0.7, 0, 0, 120], [0, -0.7, 0, 80], [0, 0, 3, -40], [0, 0, 0, 1]], dtype=float)


@pytest.fixture
def volume() -> Volume:
    hu = np.random.default_rng(0).integers(-1024, 3072, (3, 4, 5), dtype=np.int16)
    padding = np.zeros(hu.shape, dtype=bool)
    padding[:, 0, 0] = True
    acquisition = Acquisition(kernel="B30f", kvp=120.0, tube_current_ma=(100.0, None, 120.0))
    return Volume(
        hu, AFFINE, np.array([0.0, 3.0, 6.0]), Padding.of(padding), acquisition, "abc", "1.2.3", ("a gap",), {"x": 1}
    )


def test_a_case_comes_back_whole(tmp_path, volume):
    write_case(tmp_path, volume, skipped={"localizer": 2})

    back = read_case(tmp_path)

    assert np.array_equal(back.hu, volume.hu)
    assert back.hu.dtype == np.int16
    assert np.array_equal(back.padding, volume.padding)
    assert np.allclose(back.affine, volume.affine)
    assert (back.acquisition, back.key, back.warnings) == (volume.acquisition, "abc", ("a gap",))


def test_nibabel_sees_hu_and_place(tmp_path, volume):
    write_case(tmp_path, volume)

    image = nibabel.load(tmp_path / "volume.nii")

    assert image.get_data_dtype() == np.int16
    assert image.get_fdata()[4, 3, 2] == volume.hu[2, 3, 4]  # (column, row, slice)
    assert np.allclose(image.header.get_zooms(), (0.7, 0.7, 3.0))


def test_compressed_nifti_comes_back(tmp_path, volume):
    write_nifti(tmp_path / "a.nii.gz", volume.hu, volume.affine)

    assert np.array_equal(read_nifti(tmp_path / "a.nii.gz").hu, volume.hu)


def test_a_text_file_is_refused(tmp_path):
    (tmp_path / "a.nii").write_text("not an image")

    with pytest.raises(InputError, match=r"a\.nii: can't be read as NIfTI"):
        read_nifti(tmp_path / "a.nii")


def test_values_that_are_no_hu_are_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full((2, 2, 2), 1e6, dtype=np.float32), AFFINE), tmp_path / "a.nii")

    with pytest.raises(InputError, match="can't be HU"):
        read_nifti(tmp_path / "a.nii")


@pytest.mark.parametrize("dtype", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
def test_colours_and_complex_numbers_are_refused(tmp_path, dtype):
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), dtype=dtype), AFFINE), tmp_path / "a.nii")

    with pytest.raises(InputError, match=r"a\.nii: holds colours or complex numbers"):
        read_nifti(tmp_path / "a.nii")


def test_a_damaged_compressed_file_is_refused(tmp_path, volume):
    write_nifti(tmp_path / "a.nii.gz", volume.hu, volume.affine)
    content = bytearray((tmp_path / "a.nii.gz").read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    (tmp_path / "a.nii.gz").write_bytes(content)

    with pytest.raises(InputError, match=r"a\.nii\.gz: can't be read"):
        read_nifti(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda case: [case], r"case\.json: is not a case description"),
        (lambda case: {k: v for k, v in case.items() if k != "positions_mm"}, r"case\.json: has no positions_mm"),
        (lambda case: {**case, "warnings": None}, r"case\.json: has a wrong type of value for warnings"),
        (lambda case: {**case, "acquisition": {"colour": "red"}}, r"case\.json: does not describe its volume"),
        (lambda case: {**case, "positions_mm": [0.0, 3.0]}, r"case\.json: .*2 positions for 3 slices"),
        (lambda case: {**case, "positions_mm": ["a", "b", "c"]}, r"case\.json: has a wrong type .* positions_mm"),
        (lambda case: {**case, "key": "../x"}, r"case\.json: has a key that can't be the name of a folder"),
        (lambda case: {**case, "acquisition": {"kvp": "many"}}, r"case\.json: does not describe its volume"),
        (lambda case: {**case, "warnings": [3]}, r"case\.json: has a wrong type of value for warnings"),
        (lambda case: {**case, "shape": [3, 4, 6]}, r"volume\.nii: has shape \[3, 4, 5\] where case\.json says"),
    ],
)
def test_a_description_at_fault_is_refused(tmp_path, volume, change, says):
    write_case(tmp_path, volume)
    case = json.loads((tmp_path / "case.json").read_text())
    (tmp_path / "case.json").write_text(json.dumps(change(case)))

    with pytest.raises(InputError, match=says):
        read_case(tmp_path)


def test_padding_of_another_shape_is_refused(tmp_path, volume):
    write_case(tmp_path, volume)
    write_nifti(tmp_path / "padding.nii.gz", volume.hu[:2], volume.affine)

    with pytest.raises(InputError, match=r"padding\.nii\.gz: has shape \[2, 4, 5\] where case\.json says"):
        read_case(tmp_path)

"""The forms of denoised output: compressed, as NIfTI too, without identity, with it; pixels are the same in all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import JPEGLSLossless
from small_dicom import PATIENT_ID, PATIENT_NAME, write_series

from ldctpipe.dicom.compression import Compression
from ldctpipe.dicom.deidentification import Deidentifier
from ldctpipe.errors import InputError, UsageError
from ldctpipe.files import sha256_of_file
from ldctpipe.inference.denoise import DenoiseRequest, DenoiseResult, denoise
from ldctpipe.inference.job import OutputForm

KEY = bytes(range(32))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_series(tmp_path / "scan")


def run(source: Path, out: Path, model: Path, **form) -> DenoiseResult:
    return denoise(DenoiseRequest(source, out, model, device="cpu", form=OutputForm(**form)))


def images(folder: Path) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


def test_compressed_files_hold_the_same_pixels_under_the_same_uids(scan, tiny_bundle, tmp_path):
    run(scan, tmp_path / "plain", tiny_bundle)
    run(scan, tmp_path / "packed", tiny_bundle, compression=Compression.JPEG_LS)

    for plain, packed in zip(images(tmp_path / "plain"), images(tmp_path / "packed"), strict=True):
        assert packed.file_meta.TransferSyntaxUID == JPEGLSLossless
        assert packed.SOPInstanceUID == plain.SOPInstanceUID
        assert np.array_equal(packed.pixel_array, plain.pixel_array)


def test_another_form_is_another_job(scan, tiny_bundle, tmp_path):
    run(scan, tmp_path / "out", tiny_bundle)

    with pytest.raises(InputError, match="already holds other files"):
        run(scan, tmp_path / "out", tiny_bundle, compression=Compression.RLE)


def test_nifti_beside_dicom_holds_its_hu_at_its_place(scan, tiny_bundle, tmp_path):
    run(scan, tmp_path / "out", tiny_bundle, nifti=True)

    (path,) = (tmp_path / "out").glob("*.nii.gz")
    nifti = nibabel.load(path)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in sorted((tmp_path / "out").glob("*.dcm"))])
    dicom = reader.Execute()
    assert np.array_equal(np.asanyarray(nifti.dataobj).transpose(2, 1, 0), SimpleITK.GetArrayFromImage(dicom))
    for index in ((0, 0, 0), (5, 9, 2)):
        lps_mm = dicom.TransformIndexToPhysicalPoint(index)
        assert np.allclose(nifti.affine @ (*index, 1), (-lps_mm[0], -lps_mm[1], lps_mm[2], 1), atol=1e-4)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert path.name in manifest["series"][0]["files"]


def test_deidentified_outputs_hold_nothing_of_the_patient_and_the_same_pixels(scan, tiny_bundle, tmp_path):
    run(scan, tmp_path / "plain", tiny_bundle)
    run(scan, tmp_path / "safe", tiny_bundle, nifti=True, deidentifier=Deidentifier(KEY))

    safe, plain = images(tmp_path / "safe"), images(tmp_path / "plain")
    assert all(np.array_equal(a.pixel_array, b.pixel_array) for a, b in zip(safe, plain, strict=True))
    source = {str(image[keyword].value) for image in map(pydicom.dcmread, scan.iterdir()) for keyword in
              ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")}  # fmt: skip
    source |= {PATIENT_ID, PATIENT_NAME, *(path.name[:8] for path in (tmp_path / "plain").glob("*.dcm"))}
    for path in (tmp_path / "safe").iterdir():
        assert not any(text.encode() in path.read_bytes() or text in path.name for text in source), path
    assert images(tmp_path / "safe")[0].PatientIdentityRemoved == "YES"


def test_the_same_key_gives_the_same_bytes_and_another_key_another_job(scan, tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for name in ("first", "second"):
        run(scan, tmp_path / name, tiny_bundle, deidentifier=Deidentifier(KEY))

    digests = [
        {path.name: sha256_of_file(path) for path in (tmp_path / name).glob("*.dcm")} for name in ("first", "second")
    ]
    assert digests[0] == digests[1]
    with pytest.raises(InputError, match="already holds other files"):
        run(scan, tmp_path / "first", tiny_bundle, deidentifier=Deidentifier(KEY[::-1]))


def test_identifiers_stand_in_names_only_where_they_are_asked_for(tiny_bundle, tmp_path):
    for number, patient in enumerate(("MRN-1", "../MRN-2")):
        uid = f"1.2.3.{number}"
        own = {"uid_root": uid, "SeriesInstanceUID": uid, "StudyInstanceUID": f"{uid}.4"}
        write_series(tmp_path / "scans" / str(number), PatientID=patient, **own)

    run(tmp_path / "scans", tmp_path / "hidden", tiny_bundle)
    run(tmp_path / "scans", tmp_path / "shown", tiny_bundle, keep_identifiers=True)

    assert not [path for path in (tmp_path / "hidden").rglob("*") if "MRN" in path.name]
    assert "MRN" not in "".join(path.read_text() for path in (tmp_path / "hidden").rglob("*.json"))
    shown = sorted(path.name.rsplit("-", 1)[0] for path in (tmp_path / "shown").iterdir())
    assert shown == ["MRN-1", "_MRN-2"]
    ids = {json.loads(path.read_text())["patient_id"] for path in (tmp_path / "shown").rglob("manifest.json")}
    assert ids == {"MRN-1", "../MRN-2"}


def test_a_nifti_file_is_not_sent_to_a_pacs(tiny_bundle, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full((64, 64, 1), 40, np.int16), np.eye(4)), tmp_path / "scan.nii")
    request = DenoiseRequest(tmp_path / "scan.nii", tmp_path / "out", tiny_bundle, device="cpu")

    with pytest.raises(UsageError, match="--push is for DICOM"):
        denoise(replace(request, push="http://localhost:1/dicom-web"))

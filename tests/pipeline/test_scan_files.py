"""Scans of every form that a samplesheet may name, denoised for real: a folder of DICOM, a NIfTI file, odd names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from nextflow_run import Run
from small_dicom import body, write_series

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]


def test_a_nifti_file_and_a_folder_of_dicom_are_denoised_under_names_with_blanks_and_quotes(
    nextflow: Callable[..., Run], tiny_bundle: Path, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    write_series(scans / "it's a 'scan'", slices=2)
    hu = np.stack([body(seed).astype(np.int16) - 1024 for seed in range(3)], axis=-1)
    image = nibabel.Nifti1Image(hu, np.diag([-0.7, -0.7, 3.0, 1.0]))
    image.to_filename(scans / "low dose.nii.gz")
    rows = "D,it's a 'scan',,test\nN,low dose.nii.gz,,test\n"
    (scans / "sheet.csv").write_text(f"patient,low_dose,full_dose,split\n{rows}")

    run = nextflow(
        "-profile", "cpu", "--workflow", "denoise", "--input", "scans/sheet.csv", "--model", str(tiny_bundle),
        "--blend", "0",
    )  # fmt: skip

    assert run.code == 0, run.said
    derived = [pydicom.dcmread(path) for path in (run.results / "denoised" / "D").glob("*.dcm")]
    assert {image.PixelData for image in derived} == {body(seed).tobytes() for seed in range(2)}
    denoised = nibabel.load(run.results / "denoised" / "N" / "low dose.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(denoised.dataobj), hu)

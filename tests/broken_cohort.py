"""A cohort of small scans, a folder a patient, some of them broken in ways that archives and disks know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless
from small_dicom import body, write_ct


def _altered(**attributes: object) -> Callable[[Path], None]:
    def alter(file: Path) -> None:
        image = pydicom.dcmread(file)
        for keyword, value in attributes.items():
            if value is None:
                del image[keyword]
            else:
                setattr(image, keyword, value)
        image.save_as(file)

    return alter


def _with_pixels_of_noise(file: Path) -> None:
    image = pydicom.dcmread(file)
    image.file_meta.TransferSyntaxUID = RLELossless
    image.PixelData = encapsulate([bytes(range(256)) * 4])
    image["PixelData"].is_undefined_length = True
    image.save_as(file)


# How a patient's files are broken, and what the manifest must say of it.
BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no_dicom": (lambda file: file.write_text("this is no DICOM"), "not a DICOM file"),
    "without_hu": (_altered(RescaleIntercept=0), "soft tissue"),
    "cut_short": (lambda file: file.write_bytes(file.read_bytes()[:-1000]), "cut short"),
    "no_position": (_altered(ImagePositionPatient=None), "no position"),
    "noise_as_pixels": (_with_pixels_of_noise, "decoded"),
    "empty": (lambda file: file.write_bytes(b""), "not a DICOM file"),
    "inverted_grey": (_altered(PhotometricInterpretation="MONOCHROME1"), "MONOCHROME1"),
    "other_modality": (_altered(SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR"), "MR Image"),
    "no_slope": (_altered(RescaleSlope=None), "slope"),
    "several_frames": (_altered(NumberOfFrames=2), "several frames"),
}


def write_patients(root: Path, numbers: range, broken: dict[int, str] | None = None, slices: int = 2) -> Path:
    """Write a scan of 64×64 pixels into `root`/P001 and so on for each of `numbers`; `broken` has the ways of some."""
    for number in numbers:
        uid = f"1.2.826.0.1.3680043.8.498.9.{number}"
        for index in range(slices):
            file = write_ct(
                root / f"P{number:03d}" / f"{index:03d}.dcm", body(number + index, (64, 64)), 3.0 * index,
                SeriesInstanceUID=uid, StudyInstanceUID=f"{uid}.1", FrameOfReferenceUID=f"{uid}.2",
                SOPInstanceUID=f"{uid}.3.{index}", PatientID=f"MRN-{number}", PatientName=f"Doe^{number}",
            )  # fmt: skip
            if broken and number in broken:
                BREAKAGES[broken[number]][0](file)
    return root

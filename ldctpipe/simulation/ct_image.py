"""CT images from scratch: valid CT Image Storage objects for phantoms (PS3.3 A.3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from ldctpipe import __version__
from ldctpipe.dicom.uids import IMPLEMENTATION_CLASS_UID, uid_of

_INTERCEPT_HU = -1024
_HIGHEST_STORED = 4095
_DATE, _TIME = "20240101", "120000"


@dataclass(frozen=True)
class PhantomSeries:
    """What all images of one phantom series share; `identity` is the text that its UIDs are made from."""

    identity: str
    study_identity: str
    patient: str
    body_part: str
    description: str
    number: int
    pixel_mm: float
    thickness_mm: float
    increment_mm: float
    exposure_share: float
    kernel: str = "B30f"
    study_description: str = "Simulated body phantom"


def stored_values(hu: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Return 12-bit stored values for HU, rounded and clipped as a scanner does."""
    return np.clip(np.rint(hu) - _INTERCEPT_HU, 0, _HIGHEST_STORED).astype(np.uint16)


def write_ct_image(
    path: Path, series: PhantomSeries, hu: npt.NDArray[np.float32], index: int, z_mm: float, current_ma: int
) -> None:
    """Write slice `index` (from 0) of a phantom series to `path`."""
    image = Dataset()
    _add_identity(image, series, index)
    _add_acquisition(image, series, current_ma)
    _add_plane(image, series, hu.shape, z_mm)
    _add_pixels(image, hu)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    image.file_meta.ImplementationVersionName = f"LDCTPIPE_{__version__}"[:16]
    image.save_as(path, enforce_file_format=True)


def _add_identity(image: Dataset, series: PhantomSeries, index: int) -> None:
    image.SpecificCharacterSet = "ISO_IR 100"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = uid_of(series.identity, "image", str(index))
    image.StudyInstanceUID = uid_of(series.study_identity, "study")
    image.SeriesInstanceUID = uid_of(series.identity, "series")
    image.FrameOfReferenceUID = uid_of(series.study_identity, "frame of reference")
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = _DATE
    image.StudyTime = image.SeriesTime = image.AcquisitionTime = image.ContentTime = _TIME
    image.AccessionNumber = image.ReferringPhysicianName = image.PositionReferenceIndicator = ""
    image.PatientName, image.PatientID = f"Phantom^{series.patient}", series.patient
    image.PatientBirthDate, image.PatientSex = "", "O"
    image.StudyID, image.StudyDescription = "1", series.study_description
    image.SeriesNumber, image.SeriesDescription = series.number, series.description
    image.AcquisitionNumber, image.InstanceNumber = 1, index + 1
    image.Modality, image.BodyPartExamined, image.PatientPosition = "CT", series.body_part, "HFS"
    image.ImageComments = "Simulated; not a patient."


def _add_acquisition(image: Dataset, series: PhantomSeries, current_ma: int) -> None:
    image.Manufacturer, image.ManufacturerModelName = "ldctpipe", "Body phantom"
    image.SoftwareVersions = __version__
    image.KVP, image.ConvolutionKernel = 120, series.kernel
    image.ExposureTime = 500
    image.XRayTubeCurrent = max(1, round(current_ma * series.exposure_share))
    image.Exposure = max(1, round(current_ma * series.exposure_share * 0.5))
    image.GantryDetectorTilt = 0


def _add_plane(image: Dataset, series: PhantomSeries, shape: tuple[int, ...], z_mm: float) -> None:
    first_x, first_y = (-(count - 1) / 2 * series.pixel_mm for count in (shape[1], shape[0]))
    image.ImagePositionPatient = [f"{first_x:.6f}", f"{first_y:.6f}", f"{z_mm:.6f}"]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PixelSpacing = [f"{series.pixel_mm:.8f}"] * 2
    image.SliceThickness, image.SliceLocation = f"{series.thickness_mm:g}", f"{z_mm:.3f}"
    image.SpacingBetweenSlices = f"{series.increment_mm:g}"
    image.ReconstructionDiameter = f"{series.pixel_mm * shape[1]:.3f}"


def _add_pixels(image: Dataset, hu: npt.NDArray[np.float32]) -> None:
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = hu.shape
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = _INTERCEPT_HU, 1, "HU"
    image.WindowCenter, image.WindowWidth = 40, 400
    image.PixelData = stored_values(hu).astype("<u2").tobytes()

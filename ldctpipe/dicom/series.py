"""The CT series: slices in order, with their place in the patient. Holds headers only, no pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.pixels import PixelSpan
from ldctpipe.dicom.rejection import Rejection
from ldctpipe.files import sha256_of_text
from ldctpipe.volumes.volume import Acquisition

KEY_DIGITS = 12


@dataclass(frozen=True)
class Slice:
    """One image of a series: its file, its place along the slice normal, its rescaling to HU, its stored pixels."""

    path: Path
    sop_uid: str
    position_mm: float
    slope: float
    intercept: float
    pixels: PixelSpan


@dataclass(frozen=True, eq=False)
class Series:
    """CT images that form one volume, in ascending position along the slice normal.

    `key` stands for the series in file names and messages; `patient_key` is one for all series of a patient that were
    discovered together. Neither can be turned back into a name or number of the patient. `patient_id` can, and is for
    de-identification only: it goes into no message and no file. `affine` maps (column, row, slice, 1) to RAS+ mm.
    `number` and `description` are SeriesNumber and SeriesDescription, in which sites may write anything;
    `derived_number` is the one for a series made from this one: number × 100 + 1, or the next that no series of the
    study has. `transfer_syntaxes` are the names in PS3.6, as they occur in the series. `refusal` says why its images
    form no volume, in which case it can't be read at all.
    """

    key: str
    uid: str
    study_uid: str
    frame_of_reference_uid: str | None
    patient_key: str
    slices: tuple[Slice, ...]
    rows: int
    columns: int
    affine: npt.NDArray[np.float64]
    acquisition: Acquisition
    patient_id: str = field(default="", repr=False)
    number: int | None = None
    description: str = field(default="", repr=False)
    derived_number: int = 1
    transfer_syntaxes: tuple[str, ...] = ()
    is_denoised: bool = False
    warnings: tuple[str, ...] = ()
    refusal: Rejection | None = None

    @property
    def positions_mm(self) -> npt.NDArray[np.float64]:
        """One position a slice along the slice normal, ascending."""
        return np.array([image.position_mm for image in self.slices])

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbours along (slice, row, column), in mm."""
        column, row, step = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(step), float(row), float(column)

    @property
    def denoising_refusal(self) -> str | None:
        """Why this series must not be denoised, or None where it may."""
        if self.refusal:
            return self.refusal.reason
        return "already denoised by ldctpipe" if self.is_denoised else None


def series_key(series_uid: str, part: str = "") -> str:
    """Return 12 hexadecimal digits that stand for a series, or for one `part` of what lies under its UID."""
    return sha256_of_text(f"{series_uid}\0{part}" if part else series_uid)[:KEY_DIGITS]

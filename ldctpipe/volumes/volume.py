"""The CT volume that every step takes and returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ldctpipe.volumes.padding import Padding

HuArray = npt.NDArray[np.int16] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class Acquisition:
    """How a series was made, as far as its header says; None where it is silent. Sequences have one value a slice."""

    manufacturer: str | None = None
    scanner_model: str | None = None
    kernel: str | None = None
    kvp: float | None = None
    slice_thickness_mm: float | None = None
    tube_current_ma: tuple[float | None, ...] | None = None
    exposure_mas: tuple[float | None, ...] | None = None
    ctdi_vol_mgy: float | None = None
    gantry_tilt_deg: float | None = None
    image_type: tuple[str, ...] = ()
    patient_position: str | None = None
    body_part: str | None = None


@dataclass(frozen=True)
class Volume:
    """A stack of parallel slices in HU with its place in the patient.

    `hu` has shape (slices, rows, columns), is int16 wherever all HU of the source are whole numbers and float32
    otherwise. `affine` maps the index (column, row, slice, 1) to RAS+ millimetres, as nibabel has it for the same
    data on disk. `positions_mm` has one value a slice along the slice normal, ascending; its steps may be uneven.
    `padding` marks the pixels that hold no measurement (scanner padding), in the shape of `hu`; None means none.
    `frame_of_reference` is equal where the frame of reference is: a hash, as its UID can lead to a patient.
    `files` are where the slices came from, for messages alone: one path a slice, or one for all of them, or none. They
    can hold a patient's name, so nothing writes them down.
    """

    hu: HuArray
    affine: npt.NDArray[np.float64]
    positions_mm: npt.NDArray[np.float64]
    padding: Padding | None = None
    acquisition: Acquisition = field(default_factory=Acquisition)
    key: str = ""
    frame_of_reference: str | None = None
    warnings: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.hu.ndim != 3:
            raise ValueError(f"hu has shape {self.hu.shape}, wanted (slices, rows, columns)")
        if self.hu.dtype not in (np.dtype(np.int16), np.dtype(np.float32)):
            raise ValueError(f"hu has dtype {self.hu.dtype}, wanted int16 or float32")
        if len(self.positions_mm) != len(self.hu):
            raise ValueError(f"{len(self.positions_mm)} positions for {len(self.hu)} slices")
        if self.padding is not None and self.padding.shape != self.hu.shape:
            raise ValueError(f"padding has shape {self.padding.shape}, wanted {self.hu.shape}")

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbours along (slice, row, column), in mm; the slice step is the affine's."""
        column, row, step = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(step), float(row), float(column)

    def measured(self) -> npt.NDArray[np.bool_]:
        """Return True where a pixel holds a measurement, in the shape of `hu`."""
        return np.ones(self.hu.shape, dtype=bool) if self.padding is None else ~self.padding[:]

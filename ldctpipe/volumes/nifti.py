"""NIfTI in and out, without resampling: int16 HU stay int16 HU."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt

from ldctpipe.errors import InputError
from ldctpipe.files import new_file, sha256_of_file
from ldctpipe.volumes.volume import HuArray, Volume

# What nibabel raises for a file that is damaged, cut short or something else than NIfTI.
DAMAGED_NIFTI = (
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    zlib.error,
)
_LOWEST_CT_HU, _HIGHEST_CT_HU = -8192.0, 32767.0


def is_nifti(path: Path) -> bool:
    """Tell whether a file name says NIfTI."""
    return path.name.endswith((".nii", ".nii.gz"))


def read_nifti(path: Path) -> Volume:
    """Return the volume in `path`, whose values must be HU.

    Slices run along the third axis of the file. Raises `InputError` for files that are not NIfTI, not 3-D, or
    hold values that can't be HU (colours, complex or not finite numbers, or numbers beyond [−8192, 32767]).
    """
    try:
        image = nibabel.load(path)
        data = np.asanyarray(image.dataobj)  # type: ignore[attr-defined]
    except DAMAGED_NIFTI as error:
        raise InputError(path, f"can't be read as NIfTI ({error})", "give a .nii or .nii.gz file in HU") from None
    hu = _as_hu(path, data)
    affine = np.asarray(image.affine, dtype=np.float64)  # type: ignore[attr-defined]
    step_mm = float(np.linalg.norm(affine[:3, 2]))
    positions_mm = np.arange(len(hu), dtype=np.float64) * step_mm
    digest = sha256_of_file(path)
    provenance = {"source": "nifti", "sha256": digest}
    return Volume(hu, affine, positions_mm, key=digest[:12], provenance=provenance, files=(path,))


def _as_hu(path: Path, data: npt.NDArray[np.generic]) -> HuArray:
    if data.ndim != 3:
        raise InputError(path, f"has {data.ndim} dimensions instead of 3", "give one CT volume a file")
    if data.dtype.kind not in "iuf":
        raise InputError(path, "holds colours or complex numbers instead of HU", "give a CT volume in HU")
    values = np.ascontiguousarray(data.transpose(2, 1, 0))  # (column, row, slice) on disk
    if values.dtype == np.int16:
        return values.astype(np.int16, copy=False)
    if not np.isfinite(values).all() or values.min() < _LOWEST_CT_HU or values.max() > _HIGHEST_CT_HU:
        raise InputError(path, "holds values that can't be HU", "give a CT volume in HU")
    whole = bool((values == np.rint(values)).all())
    return values.astype(np.int16) if whole else values.astype(np.float32)


def write_nifti(path: Path, hu: HuArray, affine: npt.NDArray[np.float64]) -> None:
    """Write (slices, rows, columns) HU to `path` atomically, in the dtype of `hu`, with the affine of `Volume`."""
    image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1, 0)
    suffix = ".nii.gz" if path.name.endswith(".nii.gz") else ".nii"
    with new_file(path) as temporary:
        named = temporary.with_name(temporary.name + suffix)  # nibabel chooses the format by the name
        try:
            nibabel.save(image, named)
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)

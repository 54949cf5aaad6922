"""NIfTI in and out, without resampling: int16 HU stay int16 HU, and a header's place in space stays as it is."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from ldctpipe.errors import READ_REMEDY, InputError, ReadError, is_transient, reading
from ldctpipe.files import new_file, sha256_of_file
from ldctpipe.foreign import open_file
from ldctpipe.volumes.padding import Padding, filled
from ldctpipe.volumes.plausibility import LARGEST_ROWS_OR_COLUMNS, hu_doubt, hu_fault
from ldctpipe.volumes.stack_shape import plane_warning
from ldctpipe.volumes.volume import HuArray, Volume
from ldctpipe.volumes.voxel_size import pixel_size_fault, step_fault

# Odd but readable headers are no business of the user's, and damaged ones get a sentence of their own.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)

# What nibabel raises for a file that is damaged, cut short or something else than NIfTI.
DAMAGED_NIFTI = (
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    zlib.error,
)
_REMEDY = "give a CT volume in HU"
_NOT_FINITE = "holds values that are no numbers (NaN or infinite)", "write −1024 in their place"
_LARGEST_SLICES = 16384
_LARGEST_INFLATION = 1100  # deflate can't do more than 1032 times
_MM_PER_UNIT = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}
_SHEAR_TOLERANCE = 1e-3
_MOST_SKEW = 0.5  # registration may have sheared a volume a little
_LEAST_UPRIGHT = 0.7  # gantries tilt by 30°; this is 45°
_SCANNER_ANATOMY = 1
# The fields of a header that say where voxels lie (NIfTI-1 §"3D image orientation and location in space").
_PLACE_FIELDS = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip


def is_nifti(path: Path) -> bool:
    """Tell whether a file name says NIfTI."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def refuse_image_pair(path: Path) -> None:
    """Raise `InputError` where `path` is half of an Analyze or NIfTI pair (.hdr and .img)."""
    halves = (".hdr", ".img")
    if path.suffix.lower() in halves and all(path.with_suffix(half).is_file() for half in halves):
        raise InputError(path, "is half of a pair of files (.hdr and .img)", "convert the pair to one .nii file")


def read_nifti(path: Path) -> Volume:
    """Return the volume in `path`, whose values must be HU, in the axis order of the file.

    Slices run along the third axis of the file; a fourth axis of length 1 is dropped. Where no header field says where
    the voxels lie, and where slices are not axial, the volume carries a warning. Raises `InputError` for files that are
    not NIfTI in one file, damaged, not 3-D, too large, without an invertible affine or with voxels that no CT has, or
    that hold values that can't be HU (colours, complex or not finite numbers, and what `hu_fault` refuses). A fill far
    below air around the reconstructed circle is padding, as in DICOM.
    """
    image = _opened(path)
    try:
        hu = _hu(path, image)
    except MemoryError:
        raise ReadError(path, "needs more memory than is free", "free some memory, or give a smaller volume") from None
    except DAMAGED_NIFTI as error:
        raise _fault(path, error, "copy or export it again") from None
    affine = _affine_mm(path, image)
    padding = filled(hu)
    if padding is not None and padding.count() == hu.size:
        raise InputError(path, "holds nothing but padding", _REMEDY)
    if fault := hu_fault(hu, padding):
        raise InputError(path, fault, _REMEDY)
    with reading(path):
        digest = sha256_of_file(path)
    return Volume(
        hu,
        affine,
        even_positions_mm(affine, len(hu)),
        padding,
        key=digest[:12],
        warnings=(*_warnings(image, affine), *filter(None, [hu_doubt(hu, padding)])),
        provenance={"source": "nifti", "sha256": digest},
        files=(path,),
    )


def even_positions_mm(affine: npt.NDArray[np.float64], slices: int) -> npt.NDArray[np.float64]:
    """Return where slices lie along their normal, from the first one on, in a volume that has no other places."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    step_mm = abs(float(affine[:3, 2] @ normal / np.linalg.norm(normal)))
    return np.arange(slices, dtype=np.float64) * step_mm


def nifti_grid(path: Path) -> tuple[tuple[int, int, int], npt.NDArray[np.float64]]:
    """Return (slices, rows, columns) and the affine in mm of the volume in `path`; reads no voxel.

    Raises `InputError` for a header that `read_nifti` refuses.
    """
    image = _opened(path)
    columns, rows, slices = image.shape[:3]
    return (slices, rows, columns), _affine_mm(path, image)


def nifti_slices(path: Path, numbers: Sequence[int]) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the slices of these ascending numbers in HU (rows, columns); holds one at a time.

    Raises `InputError` for a header that `read_nifti` refuses, and for damage and numbers as it does.
    """
    image = _opened(path, keep_file_open=True)  # opened for each slice, a compressed file is unpacked from its start
    for number in numbers:
        try:
            hu = np.asarray(image.dataobj[:, :, number], dtype=np.float64)
        except DAMAGED_NIFTI as error:
            raise _fault(path, error, "copy it again or export it anew") from None
        if not np.isfinite(hu).all():
            raise InputError(path, *_NOT_FINITE)
        yield hu.reshape(hu.shape[:2]).T


def _opened(path: Path, *, keep_file_open: bool = False) -> Any:
    """Return the image in `path` with a header that promises a plausible volume; reads no voxel."""
    if path.is_dir():
        raise InputError(path, "is a folder in spite of its name", "give a .nii or .nii.gz file in HU")
    with reading(path), open_file(path) as stream:
        stream.read(1)  # nibabel takes what can't be read for another format
    try:
        image: Any = nibabel.load(path, keep_file_open=keep_file_open)  # type: ignore[call-arg]
        if type(image) not in (nibabel.Nifti1Image, nibabel.Nifti2Image):
            raise ValueError("a header without its image")
        shape, dtype = image.shape, image.get_data_dtype()
    except DAMAGED_NIFTI as error:
        raise _fault(path, error, "give a .nii or .nii.gz file in HU") from None
    if len(shape) < 3 or any(length != 1 for length in shape[3:]):
        raise InputError(path, f"has the shape {shape} instead of 3 dimensions", "give one CT volume a file")
    if dtype.kind not in "iuf":
        raise InputError(path, "holds colours or complex numbers instead of HU", _REMEDY)
    _refuse_impossible_size(path, shape[:3], dtype.itemsize)
    return image


def _refuse_impossible_size(path: Path, shape: tuple[int, ...], itemsize_bytes: int) -> None:
    """Refuse a header that promises more than a CT has or than the file can hold, before memory is taken for it."""
    limits = (LARGEST_ROWS_OR_COLUMNS, LARGEST_ROWS_OR_COLUMNS, _LARGEST_SLICES)
    if any(not 0 < length <= limit for length, limit in zip(shape, limits, strict=True)):
        raise InputError(path, f"has the shape {shape}, which no CT volume has", _REMEDY)
    inflation = _LARGEST_INFLATION if path.name.lower().endswith(".gz") else 1
    if np.prod(shape, dtype=np.int64) * itemsize_bytes > path.stat().st_size * inflation:
        raise InputError(path, "is cut short: it holds less than its header says", "copy it again")


def _fault(path: Path, error: Exception, remedy: str) -> InputError:
    if isinstance(error, OSError) and is_transient(error):
        return ReadError(path, f"can't be read ({error.strerror or _in_one_line(error)})", READ_REMEDY)
    return InputError(path, f"can't be read as NIfTI ({_in_one_line(error)})", remedy)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _hu(path: Path, image: Any) -> HuArray:
    """The values as (slices, rows, columns): int16 where all are whole and fit, else float32."""
    stored = image.dataobj.get_unscaled()
    stored = stored.reshape(stored.shape[:3]).transpose(2, 1, 0)  # (column, row, slice) on disk
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    if stored.dtype.kind == "i" and stored.dtype.itemsize == 2 and (slope, intercept) == (1.0, 0.0):
        return stored.astype(np.int16, copy=False)
    if not _all_finite(stored, slope, intercept):
        raise InputError(path, *_NOT_FINITE)
    dtype = np.int16 if _all_whole(stored, slope, intercept) else np.float32
    hu = np.empty(stored.shape, dtype)
    for index, one in enumerate(stored):
        hu[index] = _scaled(one, slope, intercept)
    return hu


def _scaled(stored: npt.NDArray[Any], slope: float, intercept: float) -> npt.NDArray[np.float64]:
    return stored.astype(np.float64) * slope + intercept


def _all_finite(stored: npt.NDArray[Any], slope: float, intercept: float) -> bool:
    return all(bool(np.isfinite(_scaled(one, slope, intercept)).all()) for one in stored)


def _all_whole(stored: npt.NDArray[Any], slope: float, intercept: float) -> bool:
    bounds = np.iinfo(np.int16)
    slices = (_scaled(one, slope, intercept) for one in stored)
    return all(bool((hu == np.rint(hu)).all()) and hu.min() >= bounds.min and hu.max() <= bounds.max for hu in slices)


def _affine_mm(path: Path, image: Any) -> npt.NDArray[np.float64]:
    """The header's affine (sform before qform, as nibabel chooses) in mm."""
    affine = np.asarray(image.affine, dtype=np.float64).copy()
    affine[:3] *= _MM_PER_UNIT[_unit(image.header)]
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(path, "has an affine that places all voxels in a plane or nowhere", "export it anew")
    if fault := _voxel_fault(affine, image.shape):
        raise InputError(path, f"has {fault}", "export it again with correct voxel sizes and axes")
    return affine


def _voxel_fault(affine: npt.NDArray[np.float64], shape: tuple[int, ...]) -> str | None:
    """Why voxels can't be a CT's: their size, or axes that no gantry tilt explains."""
    column, row, step = np.linalg.norm(affine[:3, :3], axis=0)
    if fault := pixel_size_fault((row, column), (shape[1], shape[0])) or step_fault(step):
        return fault
    axes = affine[:3, :3] / (column, row, step)
    normal = np.cross(axes[:, 0], axes[:, 1])
    if abs(axes[:, 0] @ axes[:, 1]) > _MOST_SKEW or abs(axes[:, 2] @ normal) < _LEAST_UPRIGHT * np.linalg.norm(normal):
        return "rows, columns and slices that are not at right angles"
    return None


def _unit(header: Any) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:  # a code that the format doesn't have
        return "unknown"


def _warnings(image: Any, affine: npt.NDArray[np.float64]) -> tuple[str, ...]:
    if int(image.header["qform_code"]) <= 0 and int(image.header["sform_code"]) <= 0:
        return ("the header doesn't say where the voxels lie in the patient (qform and sform codes are 0)",)
    return plane_warning(affine)


def write_nifti(path: Path, hu: HuArray | Padding, affine: npt.NDArray[np.float64], like: Path | None = None) -> None:
    """Write (slices, rows, columns) HU to `path` atomically, in the dtype of `hu`, with the affine of `Volume`.

    Padding becomes numbers of one byte, 1 where it is. Slices are written one by one, so that nothing of the size of
    the volume is made. sform and, where the axes are at right angles, qform say "scanner anatomy". With `like`, a NIfTI
    file with the same grid, the place of the voxels is that of its header to the bit instead (both forms, their codes,
    the unit); nothing else of it is kept, because descriptions and extensions can hold who and when.
    """
    dtype = np.dtype(np.uint8) if isinstance(hu, Padding) else hu.dtype
    # The shape and type of the volume in one value, for nibabel to make a header of.
    grid = np.broadcast_to(np.zeros((), dtype), hu.shape)
    image = _image(grid, affine) if like is None else _image_like(grid, like)
    image.header.set_slope_inter(1, 0)
    suffix = ".nii.gz" if path.name.lower().endswith(".nii.gz") else ".nii"
    with new_file(path) as temporary:
        named = temporary.with_name(temporary.name + suffix)  # nibabel chooses the compression by the name
        try:
            _write_slices(named, image, hu, dtype)
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)


def _write_slices(path: Path, image: Any, hu: HuArray | Padding, dtype: np.dtype[Any]) -> None:
    image.update_header()
    on_disk = dtype.newbyteorder(image.header.endianness)
    with nibabel.openers.ImageOpener(str(path), "wb") as stream:
        image.header.write_to(stream)
        stream.write(bytes(image.header.get_data_offset() - stream.tell()))
        for index in range(len(hu)):
            one = hu[index]
            stream.write((one.view(np.uint8) if one.dtype == np.bool_ else one).astype(on_disk, copy=False).tobytes())


def _image(hu: HuArray, affine: npt.NDArray[np.float64]) -> Any:
    image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=_SCANNER_ANATOMY)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.allclose(axes.T @ axes, np.eye(3), atol=_SHEAR_TOLERANCE):
        image.set_qform(affine, code=_SCANNER_ANATOMY)
    return image


def _image_like(hu: HuArray, like: Path) -> Any:
    source: Any = nibabel.load(like).header
    kind = nibabel.Nifti2Image if isinstance(source, nibabel.Nifti2Header) else nibabel.Nifti1Image
    image = kind(hu.transpose(2, 1, 0), None)
    for field in _PLACE_FIELDS:
        image.header[field] = source[field]
    image.header["pixdim"][:4] = source["pixdim"][:4]
    return image

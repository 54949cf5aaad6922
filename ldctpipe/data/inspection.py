"""What is in a folder, before anything is done with it: every series, and whether it can be denoised."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ldctpipe.data.scans import case_folders, nifti_files
from ldctpipe.dicom.discovery import Discovery, Skipped, nothing_usable, survey
from ldctpipe.dicom.membership import Membership
from ldctpipe.dicom.series import Series, series_key
from ldctpipe.errors import InputError
from ldctpipe.files import require_exists, sha256_of_file
from ldctpipe.volumes.case import read_case
from ldctpipe.volumes.nifti import read_nifti, refuse_image_pair
from ldctpipe.volumes.stack_shape import StackShape, stack_shape
from ldctpipe.volumes.volume import Acquisition, Volume

_KEY_DIGITS = 12


@dataclass(frozen=True)
class Range:
    """Smallest, largest and mean value over the slices that have one."""

    min: float
    max: float
    mean: float


@dataclass(frozen=True)
class Finding:
    """One series: `refusal` says why it can't be denoised and is None where it can; None stands for what is not known.

    `series_number`, `series_description` and one `file` of it are None, too, where identity is left out. A series that
    can't be used has no slices, only `unusable_files`; one whose images form no volume has no geometry. `shear_deg` is
    measured from the positions of the slices, `gantry_tilt_deg` is what the header says; the signs of the latter differ
    from maker to maker.
    """

    key: str
    kind: str
    modality: str
    slices: int
    refusal: str | None
    series_number: int | None = None
    series_description: str | None = None
    file: str | None = None
    unusable_files: int = 0
    rows: int | None = None
    columns: int | None = None
    slice_spacing_mm: float | None = None
    row_spacing_mm: float | None = None
    column_spacing_mm: float | None = None
    slice_thickness_mm: float | None = None
    smallest_slice_distance_mm: float | None = None
    largest_slice_distance_mm: float | None = None
    missing_slices: int | None = None
    is_uneven: bool = False
    orientation: str | None = None
    patient_position: str | None = None
    shear_deg: float | None = None
    gantry_tilt_deg: float | None = None
    kernel: str | None = None
    tube_voltage_kv: float | None = None
    tube_current_ma: Range | None = None
    exposure_mas: Range | None = None
    ctdi_vol_mgy: float | None = None
    manufacturer: str | None = None
    scanner_model: str | None = None
    body_part: str | None = None
    image_type: tuple[str, ...] = ()
    transfer_syntaxes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_denoisable(self) -> bool:
        """Tell whether `ldctpipe denoise` takes this series."""
        return self.refusal is None


@dataclass(frozen=True)
class LeftOut:
    """A file that is in no usable series, as its path below the input, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True)
class Inspection:
    """The series in a folder, how many files were left out for each reason, and which (where that was asked for)."""

    series: tuple[Finding, ...]
    skipped: dict[str, int]
    skipped_files: tuple[LeftOut, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        found = [{**asdict(one), "is_denoisable": one.is_denoisable} for one in self.series]
        listed = {} if self.skipped_files is None else {"skipped_files": [asdict(one) for one in self.skipped_files]}
        return {"series": found, "skipped": self.skipped, **listed}


def inspect(
    path: Path, threads: int | None = None, *, list_skipped: bool = False, anonymous: bool = False
) -> Inspection:
    """Return what series are in `path` (DICOM, cases or NIfTI) and which can be denoised; of DICOM, reads headers only.

    Series of other modalities, and CT series of which no image can be used, are there with the reason. Raises
    `InputError` where there is no DICOM series of any kind. With `list_skipped`, names the files left out. With
    `anonymous`, series are identified by their keys alone: descriptions and paths can contain a patient's name.
    """
    found = _inspected(path, threads, list_skipped)
    series = [replace(one, series_number=None, series_description=None, file=None) for one in found.series]
    return replace(found, series=tuple(series)) if anonymous else found


def _inspected(path: Path, threads: int | None, list_skipped: bool) -> Inspection:
    require_exists(path)
    refuse_image_pair(path)
    if path.is_dir() and (cases := case_folders(path)):
        return Inspection(tuple(_of_file(path, case, "case", read_case) for case in cases), {})
    if images := nifti_files(path):
        return Inspection(tuple(_of_file(path, image, "NIfTI", read_nifti) for image in images), {})
    discovery = survey(path, threads)
    found = (*(_of_series(path, series) for series in discovery.series), *_unusable(path, discovery))
    if not found:
        raise nothing_usable(path, discovery.skipped)
    listed = tuple(LeftOut(_below(path, skip.path), skip.reason) for skip in discovery.skipped)
    return Inspection(found, discovery.skipped_by_reason(), listed if list_skipped else None)


def _below(root: Path, file: Path) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) and file != root else file.name


def _of_series(root: Path, series: Series) -> Finding:
    file = _below(root, series.slices[0].path)
    known: dict[str, Any] = {
        "series_number": series.number,
        "series_description": series.description or None,
        "file": file,
    }
    if series.refusal:
        refusal, slices = series.refusal.reason, len(series.slices)
        return replace(Finding(series.key, "DICOM", "CT", slices, refusal, warnings=series.warnings), **known)
    size = len(series.slices), series.rows, series.columns
    shape = stack_shape(series.affine, series.positions_mm)
    found = _finding(series, "DICOM", size, shape, series.denoising_refusal, series.transfer_syntaxes)
    return replace(found, **known)


def _of_file(root: Path, path: Path, kind: str, read: Callable[[Path], Volume]) -> Finding:
    try:
        volume = read(path)
    except InputError as error:
        key = sha256_of_file(path)[:_KEY_DIGITS] if path.is_file() else path.name
        return Finding(key, kind, "CT", 0, error.fault, file=_below(root, path), unusable_files=1)
    slices, rows, columns = volume.hu.shape
    refusal = "an ingested case, without the headers of its DICOM" if kind == "case" else None
    shape = stack_shape(volume.affine, volume.positions_mm)
    return replace(_finding(volume, kind, (slices, rows, columns), shape, refusal), file=_below(root, path))


def _finding(
    source: Series | Volume,
    kind: str,
    size: tuple[int, int, int],
    shape: StackShape,
    refusal: str | None,
    transfer_syntaxes: tuple[str, ...] = (),
) -> Finding:
    taken: Acquisition = source.acquisition
    slices, rows, columns = size
    slice_mm, row_mm, column_mm = source.spacing_mm
    return Finding(
        key=source.key,
        kind=kind,
        modality="CT",
        slices=slices,
        refusal=refusal,
        rows=rows,
        columns=columns,
        slice_spacing_mm=slice_mm,
        row_spacing_mm=row_mm,
        column_spacing_mm=column_mm,
        slice_thickness_mm=taken.slice_thickness_mm,
        smallest_slice_distance_mm=shape.smallest_distance_mm,
        largest_slice_distance_mm=shape.largest_distance_mm,
        missing_slices=shape.missing_slices,
        is_uneven=shape.is_uneven,
        orientation=shape.orientation,
        patient_position=taken.patient_position,
        shear_deg=shape.shear_deg,
        gantry_tilt_deg=taken.gantry_tilt_deg,
        kernel=taken.kernel,
        tube_voltage_kv=taken.kvp,
        tube_current_ma=_range(taken.tube_current_ma),
        exposure_mas=_range(taken.exposure_mas),
        ctdi_vol_mgy=taken.ctdi_vol_mgy,
        manufacturer=taken.manufacturer,
        scanner_model=taken.scanner_model,
        body_part=taken.body_part,
        image_type=taken.image_type,
        transfer_syntaxes=transfer_syntaxes,
        warnings=source.warnings,
    )


def _range(values: Sequence[float | None] | None) -> Range | None:
    known = [value for value in values or () if value is not None]
    return Range(min(known), max(known), sum(known) / len(known)) if known else None


def _unusable(root: Path, discovery: Discovery) -> list[Finding]:
    """Series of which no image can be used, sorted by key; files that lie beside a usable series are only counted."""
    usable = {series.uid for series in discovery.series}
    groups: dict[Membership, list[Skipped]] = defaultdict(list)
    for skip in discovery.skipped:
        if skip.member and skip.member.series_uid not in usable:
            groups[skip.member].append(skip)
    found = [_of_skipped(root, member, skipped) for member, skipped in groups.items()]
    return sorted(found, key=lambda one: (one.key, one.modality))


def _of_skipped(root: Path, member: Membership, skipped: Sequence[Skipped]) -> Finding:
    counts = Counter(skip.reason for skip in skipped).most_common()
    reasons = [reason if len(counts) == 1 else f"{count} × {reason}" for reason, count in counts]
    file = _below(root, skipped[0].path)
    key, count = series_key(member.series_uid), len(skipped)
    return Finding(key, "DICOM", member.modality, 0, "; ".join(reasons), file=file, unusable_files=count)

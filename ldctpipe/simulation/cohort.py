"""A simulated paired cohort with its noise-free truth, by default in the folder layout of the AAPM-Mayo 2016 challenge.

OUT/full_3mm/L001/full_3mm/L001_FD_3_1.CT.0001.0001.….IMA         full dose
OUT/quarter_3mm/L001/quarter_3mm/L001_QD_3_1.CT.0001.0001.….IMA   reduced dose
OUT/truth/L001/L001_NF_3_1.CT.0001.0001.….IMA                     what both would be without noise; L001.nii: the same
OUT/truth/inserts.csv                                             where lesions and nodules are
OUT/phantom.json                                                  how each patient was made
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ldctpipe import __version__
from ldctpipe.errors import UsageError
from ldctpipe.files import new_folder, write_json
from ldctpipe.progress import Progress
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.kernels import match_kernel
from ldctpipe.simulation.noise import NoiseModel
from ldctpipe.simulation.phantom import (
    REGIONS,
    TRUNK,
    FoundInsert,
    PhantomPatient,
    make_patient,
    noise_free_slices,
    tube_currents_ma,
)
from ldctpipe.simulation.phantom_choices import Arms, BodySize, Like
from ldctpipe.simulation.phantom_series import (
    LAYOUTS,
    Role,
    SeriesText,
    mayo_low_name,
    study_of,
    write_series,
)
from ldctpipe.simulation.randomness import generator
from ldctpipe.simulation.subject import exposed_model, scan
from ldctpipe.volumes.nifti import write_nifti
from ldctpipe.volumes.plausibility import LARGEST_ROWS_OR_COLUMNS

THICKNESS_MM = 3.0
INCREMENT_MM = 2.0
KERNEL = "B30f"
_SMALLEST_SIZE = 64
_BYTES_PER_VOXEL = 4  # of one dose of a series, which is held at once; more is needed beside it


@dataclass(frozen=True)
class CohortPlan:
    """What a cohort is to be: its seed, dose, slices, and which patients take turns."""

    seed: int
    dose: float = 0.25
    slices: int = 20
    size: int = 512
    like: Like = Like.MAYO
    regions: tuple[str, ...] = TRUNK
    build: BodySize = BodySize.ADULT
    arms: Arms = Arms.UP
    threads: int | None = None

    def patient(self, number: int) -> PhantomPatient:
        """Return patient `number`, from 0."""
        names = {"regions": self.regions, "build": self.build, "arms": self.arms}
        grid = self.slices, self.size, THICKNESS_MM, INCREMENT_MM
        return make_patient(f"L{number + 1:03d}", number, self.seed, *grid, **names)  # type: ignore[arg-type]


def make_phantom_cohort(
    out: Path, patients: int, slices: int, seed: int, *, overwrite: bool = False, **options: Any
) -> list[Path]:
    """Write a cohort to `out` and return its folders of series; `options` are the other fields of `CohortPlan`.

    Raises `UsageError` for a dose that is not between 0 and 1, a size that is too small or odd, or a region that is
    not known.
    """
    plan = CohortPlan(seed, slices=slices, **options)
    check_scan(plan.dose, plan.size, plan.slices)
    if unknown := [name for name in plan.regions if name not in REGIONS]:
        raise UsageError(None, f"{unknown[0]!r} is no region of the body", f"choose from {', '.join(REGIONS)}")
    progress = Progress("phantoms", patients * slices, "slices")
    with new_folder(out, overwrite=overwrite) as folder:
        records = [_write_patient(folder, plan.patient(number), plan, progress) for number in range(patients)]
        _write_inserts(folder / "truth" / "inserts.csv", records)
        settings = {"seed": seed, "dose": plan.dose, "size": plan.size, "slices": slices, "kernel": KERNEL}
        made = [{key: value for key, value in record.items() if key != "inserts"} for record in records]
        write_json(
            folder / "phantom.json",
            {"ldctpipe": __version__, "kind": "cohort", "like": plan.like.value, **settings, "patients": made},
        )
    progress.finish()
    return [out / "full_3mm", out / mayo_low_name(plan.dose)] if plan.like is Like.MAYO else [out]


def check_scan(dose: float, size: int, slices: int) -> None:
    """Raise `UsageError` for a dose that is not between 0 and 1, or a size that can't be made or held in memory."""
    if not 0.0 < dose < 1.0:
        raise UsageError(
            None, f"a dose of {dose:g} is not between 0 and 1", "give the share of the full dose, such as 0.25"
        )
    if not _SMALLEST_SIZE <= size <= LARGEST_ROWS_OR_COLUMNS or size % 8:
        remedy = f"give a multiple of 8 from {_SMALLEST_SIZE} to {LARGEST_ROWS_OR_COLUMNS}"
        raise UsageError(None, f"slices of {size} pixels can't be made", remedy)
    if slices * size**2 * _BYTES_PER_VOXEL > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        fault = f"{slices} slices of {size} × {size} pixels need more memory than this machine has"
        raise UsageError(None, fault, "give fewer slices, or a smaller size")


def _write_patient(folder: Path, patient: PhantomPatient, plan: CohortPlan, progress: Progress) -> dict[str, Any]:
    subject, current_ma = patient.subject, tube_currents_ma(patient)
    cutoff_per_mm = match_kernel(KERNEL).cutoff_per_mm
    truth, found = noise_free_slices(patient, cutoff_per_mm, plan.threads, progress.advance)
    model = expose(patient, truth, cutoff_per_mm, plan.seed)
    full, low = scan(subject, truth, model, current_ma, plan.dose, plan.seed, plan.threads)
    text = SeriesText(study_of(subject, plan.seed), REGIONS[patient.region].body_part, KERNEL, plan.dose)
    for role, hu in ((Role.FULL, full), (Role.LOW, low), (Role.TRUTH, truth)):
        write_series(folder, LAYOUTS[plan.like], subject, text, role, hu, current_ma, plan.threads)
    write_nifti(folder / "truth" / f"{subject.name}.nii", np.rint(truth).astype(np.int16), subject.affine())
    return _record(patient, model, current_ma, [_insert_row(patient, truth, place) for place in found])


def expose(patient: PhantomPatient, truth: Image, cutoff_per_mm: float, seed: int) -> NoiseModel:
    """Return the noise model of a patient's scan, with the quanta that give its region the usual noise."""
    subject, region = patient.subject, REGIONS[patient.region]
    model = NoiseModel(
        subject.pixel_mm, subject.size, cutoff_per_mm=cutoff_per_mm, bow_tie=region.bow_tie, angular_modulation=1.0
    ).sampled()
    wanted_sd_hu = generator(seed, subject.name, "exposure").uniform(*region.sd_hu)
    return exposed_model(subject, truth[len(truth) // 2], model, wanted_sd_hu, seed)


def _record(
    patient: PhantomPatient, model: NoiseModel, current_ma: Sequence[int], inserts: list[dict[str, Any]]
) -> dict[str, Any]:
    width_mm, depth_mm = (round(2 * half, 1) for half in patient.subject.half_axes_mm)
    return {
        "patient": patient.subject.name,
        "region": patient.region,
        "build": patient.build.value,
        "width_mm": width_mm,
        "depth_mm": depth_mm,
        "arms_down": patient.arms_down,
        "pixel_mm": round(patient.subject.pixel_mm, 6),
        "quanta": float(f"{model.quanta:.6g}"),
        "electronic_ratio": model.electronic_ratio,
        "tube_current_ma": list(current_ma),
        "inserts": inserts,
    }


def _insert_row(patient: PhantomPatient, truth: Image, found: FoundInsert) -> dict[str, Any]:
    subject, insert = patient.subject, found.insert
    middle = (subject.size - 1) / 2
    radius_mm = patient.scale * insert.radius_mm
    return {
        "patient": subject.name,
        "kind": insert.kind,
        "x_mm": round((found.column - middle) * subject.pixel_mm, 2),
        "y_mm": round((found.row - middle) * subject.pixel_mm, 2),
        "z_mm": round(patient.scale * insert.centre[2], 2),
        "slice": found.slice_index,
        "row": found.row,
        "column": found.column,
        "radius_mm": round(radius_mm, 2),
        "contrast_hu": round(insert.contrast_hu, 1),
        "diameter_mm": round(2 * radius_mm, 2),
        "hu": round(float(truth[found.slice_index, found.row, found.column]), 1),
    }


def _write_inserts(path: Path, records: list[dict[str, Any]]) -> None:
    columns = ("patient", "kind", "x_mm", "y_mm", "z_mm", "slice", "row", "column", "radius_mm", "contrast_hu")
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, (*columns, "diameter_mm", "hu"))
        writer.writeheader()
        writer.writerows(row for record in records for row in record["inserts"])

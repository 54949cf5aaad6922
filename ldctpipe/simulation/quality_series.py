"""Scans of image-quality phantoms: several realisations of the noise of one truth, at two doses.

OUT/present_R001/full_dose/0001.dcm, …/low_dose/0001.dcm   first realisation of the phantom "present"
OUT/truth/present/0001.dcm, OUT/truth/present.nii          what all of them would be without noise (NIfTI: not rounded)
OUT/truth/inserts.csv                                      where each insert is, how wide, and its HU
OUT/phantom.json                                           how it was made
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ldctpipe import __version__
from ldctpipe.errors import UsageError
from ldctpipe.files import new_folder, write_json
from ldctpipe.progress import Progress
from ldctpipe.simulation.cohort import check_scan
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.kernels import match_kernel
from ldctpipe.simulation.noise import NoiseModel
from ldctpipe.simulation.phantom_choices import Kind, Like
from ldctpipe.simulation.phantom_series import LAYOUTS, Role, SeriesText, study_of, write_series
from ldctpipe.simulation.quality_phantom import PHANTOMS, Disc, Feature, QualityPhantom
from ldctpipe.simulation.subject import Subject, exposed_model, scan
from ldctpipe.volumes.nifti import write_nifti

SLICE_MM = 3.0
_EXPOSURE_TRIALS = 12
_TUBE_CURRENT_MA = 200
_BODY_PART = "ABDOMEN"  # of the protocol: bow-tie and kernel are those for the body
_COLUMNS = (
    "phantom", "kind", "x_mm", "y_mm", "row", "column", "first_slice", "last_slice", "diameter_mm", "hu",
    "contrast_hu", "line_pairs_per_cm",
)  # fmt: skip


@dataclass(frozen=True)
class QualityPlan:
    """What is to be made of one kind of phantom; `noise_hu` is that of a B30 kernel in its middle at full dose."""

    kind: Kind
    seed: int
    realisations: int = 2
    slices: int = 20
    dose: float = 0.25
    size: int = 512
    diameter_mm: float | None = None
    kernel: str = "B30f"
    noise_hu: float = 12.0
    threads: int | None = None


def make_quality_phantom(out: Path, plan: QualityPlan, *, overwrite: bool = False) -> list[Path]:
    """Write the series of one kind of phantom to `out` and return that folder.

    Slices touch, so the noise of each is a realisation of its own; full dose and low dose of one slice belong
    together. Raises `UsageError` for a plan that can't be carried out.
    """
    _check(plan)
    phantoms = [phantom.of_diameter(plan.diameter_mm) for phantom in PHANTOMS[plan.kind]]
    progress = Progress("phantoms", len(phantoms) * plan.realisations * plan.slices, "slices")
    with new_folder(out, overwrite=overwrite) as folder:
        model = _exposed(phantoms[0], plan)  # all phantoms of a kind have one size and so one exposure
        records = [_write_phantom(folder, phantom, model, plan, progress) for phantom in phantoms]
        _write_inserts(folder / "truth" / "inserts.csv", phantoms, plan)
        settings: dict[str, Any] = {"seed": plan.seed, "dose": plan.dose, "size": plan.size, "slices": plan.slices}
        settings |= {"realisations": plan.realisations, "kernel": plan.kernel, "noise_hu": plan.noise_hu}
        description = {"ldctpipe": __version__, "kind": plan.kind.value, **settings, "phantoms": records}
        write_json(folder / "phantom.json", description)
    progress.finish()
    return [out]


def _check(plan: QualityPlan) -> None:
    check_scan(plan.dose, plan.size, plan.slices)
    if not match_kernel(plan.kernel).known:
        raise UsageError(None, f"kernel {plan.kernel!r} is not known", "give one such as B30f or D45f")
    if not 0.0 < plan.noise_hu <= 200.0:
        raise UsageError(None, f"noise of {plan.noise_hu:g} HU can't be made", "give more than 0 and at most 200 HU")


def _write_phantom(
    folder: Path, phantom: QualityPhantom, model: NoiseModel, plan: QualityPlan, progress: Progress
) -> dict[str, Any]:
    image = phantom.noise_free(plan.size, model.cutoff_per_mm)
    truth: Image = np.repeat(image[None], plan.slices, axis=0)
    subject = _subject(phantom, plan)
    _write_truth(folder, subject, truth, plan)
    for realisation in _realisations(subject, plan.realisations):
        current_ma = [_TUBE_CURRENT_MA] * plan.slices
        full, low = scan(realisation, truth, model, current_ma, plan.dose, plan.seed, plan.threads)
        for role, hu in ((Role.FULL, full), (Role.LOW, low)):
            text = _text(realisation, plan)
            write_series(folder, LAYOUTS[Like.PLAIN], realisation, text, role, hu, current_ma, plan.threads)
        progress.advance(plan.slices)
    return {
        "phantom": phantom.name,
        "diameter_mm": phantom.diameter_mm,
        "background_hu": phantom.background_hu,
        "pixel_mm": subject.pixel_mm,
        "quanta": float(f"{model.quanta:.6g}"),
        "electronic_ratio": model.electronic_ratio,
    }


def _subject(phantom: QualityPhantom, plan: QualityPlan) -> Subject:
    positions_mm = tuple(round((i - (plan.slices - 1) / 2) * SLICE_MM, 3) for i in range(plan.slices))
    radius_mm = phantom.diameter_mm / 2
    pixel_mm = phantom.pixel_mm(plan.size)
    return Subject(phantom.name, plan.size, pixel_mm, positions_mm, SLICE_MM, SLICE_MM, (radius_mm, radius_mm))


def _realisations(subject: Subject, count: int) -> Iterator[Subject]:
    for number in range(1, count + 1):
        yield replace(subject, name=f"{subject.name}_R{number:03d}")


def _text(subject: Subject, plan: QualityPlan) -> SeriesText:
    study = f"{study_of(subject, plan.seed)} {plan.kind.value} {plan.kernel} {plan.noise_hu:g} {plan.diameter_mm}"
    return SeriesText(study, _BODY_PART, plan.kernel, plan.dose, f"Simulated {plan.kind.value} phantom")


def _exposed(phantom: QualityPhantom, plan: QualityPlan) -> NoiseModel:
    """Return the noise model at the plan's kernel, with the quanta that the plain cylinder needs for a B30 kernel."""
    plain = replace(phantom, features=())
    subject = _subject(plain, plan)
    model = NoiseModel(subject.pixel_mm, plan.size)
    image = plain.noise_free(plan.size, model.cutoff_per_mm)
    middle = replace(subject, half_axes_mm=(40.0, 40.0))
    exposed = exposed_model(middle, image, model, plan.noise_hu, plan.seed, _EXPOSURE_TRIALS, lowest_hu=-50.0)
    return replace(exposed, cutoff_per_mm=match_kernel(plan.kernel).cutoff_per_mm).sampled()


def _write_truth(folder: Path, subject: Subject, truth: Image, plan: QualityPlan) -> None:
    current_ma = [_TUBE_CURRENT_MA] * plan.slices
    text = _text(subject, plan)
    write_series(folder, LAYOUTS[Like.PLAIN], subject, text, Role.TRUTH, truth, current_ma, plan.threads)
    write_nifti(folder / "truth" / f"{subject.name}.nii", truth, subject.affine())


def _write_inserts(path: Path, phantoms: list[QualityPhantom], plan: QualityPlan) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, _COLUMNS)
        writer.writeheader()
        for phantom in phantoms:
            writer.writerows(_row(phantom, feature, plan) for feature in phantom.features)


def _row(phantom: QualityPhantom, feature: Feature, plan: QualityPlan) -> dict[str, Any]:
    middle, pixel_mm = (plan.size - 1) / 2, phantom.pixel_mm(plan.size)
    return {
        "phantom": phantom.name,
        "kind": feature.kind,
        "x_mm": feature.x_mm,
        "y_mm": feature.y_mm,
        "row": round(middle + feature.y_mm / pixel_mm, 3),
        "column": round(middle + feature.x_mm / pixel_mm, 3),
        "first_slice": 0,
        "last_slice": plan.slices - 1,
        "diameter_mm": round(feature.diameter_mm, 4),
        "hu": feature.hu,
        "contrast_hu": feature.hu - phantom.background_hu,
        "line_pairs_per_cm": "" if isinstance(feature, Disc) else feature.per_cm,
    }

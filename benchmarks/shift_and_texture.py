"""Whether denoisers draw a mesh: their change with a shift by one pixel, and the power of the noise that they leave.

    .venv/bin/python benchmarks/shift_and_texture.py COHORT BUNDLE... [--slices 24] [--patients L004] [--json FILE]

COHORT is what `ldctpipe phantom` wrote: full dose, quarter dose and noise-free truth. For each bundle and for the
quarter dose itself:

- shift: rms of D(shift x) − shift(D x) over soft tissue in HU for shifts by a row and by a column, the median over
  slices (wanted: at most 2);
- excess: the largest ratio of the power of (image − truth) in soft tissue and fat to that of the full dose, among the
  bands of 0.05/mm that hold at least 1 % of the full dose's variance (wanted: at most 1.2); "of fine bands": among
  those from 0.45/mm on, where a mesh shows;
- above 0.45/mm: that ratio for all frequencies from there on, up to the pixel grid's Nyquist frequency;
- mean frequency: that of the noise that is left, as a change from the full dose's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ldctpipe.data.scans import load_volumes
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.inference.model import Model
from ldctpipe.metrics.noise_power import NoisePower, largest_excess, mean_power, noise_patches, noise_power
from ldctpipe.metrics.pixel_shift import shift_change_hu
from ldctpipe.metrics.tissue import SOFT_TISSUE, tissue_masks
from ldctpipe.volumes.volume import Volume

FINE_PER_MM = 0.45
BODY_HU = 200.0
Image = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One slice of a phantom: its place in the quarter-dose volume, full dose, truth, and where to measure.

    `soft` is soft tissue without its edges; patches of noise need more room, and lie in `body`, between ±200 HU.
    """

    patient: str
    low: Volume
    number: int
    full_hu: Image
    truth_hu: Image
    soft: npt.NDArray[np.bool_]
    body: npt.NDArray[np.bool_]

    @property
    def pixel_mm(self) -> float:
        return self.low.spacing_mm[2]


def cases_of(cohort: Path, patients: Sequence[str], slices: int) -> list[Case]:
    """Return evenly spaced slices of the patients, as many of each."""
    every = -(-slices // len(patients))
    return [case for patient in patients for case in _cases_of_patient(cohort, patient, every)]


def _cases_of_patient(cohort: Path, patient: str, count: int) -> list[Case]:
    low, full, truth = (load_volumes(cohort / dose / patient)[0] for dose in ("quarter_3mm", "full_3mm", "truth"))
    numbers = np.unique(np.linspace(0, len(low.hu) - 1, count).round().astype(int))
    return [_case(patient, low, int(n), full.hu[n], truth.hu[n]) for n in numbers]


def _case(patient: str, low: Volume, number: int, full_hu: Image, truth_hu: Image) -> Case:
    soft = tissue_masks(truth_hu, np.ones(truth_hu.shape, dtype=bool))[SOFT_TISSUE.name]
    body = np.abs(ndimage.gaussian_filter(truth_hu.astype(np.float32), 1.5)) < BODY_HU
    return Case(patient, low, number, full_hu, truth_hu, soft, body)


def denoised(denoiser: Denoiser, case: Case, low_hu: Image) -> Image:
    """Return what a denoiser makes of a slice; `low_hu` has it with the neighbors that the network sees."""
    first, last = _around(denoiser, case)
    positions = case.low.positions_mm[first:last]
    slab = replace(case.low, hu=np.ascontiguousarray(low_hu), positions_mm=positions, padding=None, files=())
    return denoiser.denoise_slice(slab, case.number - first)


def _around(denoiser: Denoiser, case: Case) -> tuple[int, int]:
    context = denoiser.bundle.recipe.data.context
    return max(0, case.number - context), min(len(case.low.hu), case.number + context + 1)


def residual_power(images: Sequence[Image], cases: Sequence[Case]) -> NoisePower:
    """Return the power of image − truth in soft tissue and fat, over all patches of a patient, as patients' mean."""
    patches: dict[tuple[str, float], list[Image]] = {}
    for image, case in zip(images, cases, strict=True):
        found = noise_patches(image.astype(np.float64) - case.truth_hu, case.body)
        patches.setdefault((case.patient, case.pixel_mm), []).append(found)
    return mean_power([noise_power(np.concatenate(each), pixel_mm) for (_, pixel_mm), each in patches.items()])


def measured(bundle: Path, cases: Sequence[Case], full: NoisePower, threads: int) -> dict[str, Any]:
    denoiser = Model(bundle, "cpu", threads).denoiser
    slabs = [case.low.hu[slice(*_around(denoiser, case))] for case in cases]
    shifts = [
        shift_change_hu(lambda hu, case=case: denoised(denoiser, case, hu), slab, case.soft)  # type: ignore[misc]
        for case, slab in zip(cases, slabs, strict=True)
    ]
    images = [denoised(denoiser, case, slab) for case, slab in zip(cases, slabs, strict=True)]
    recipe = denoiser.bundle.recipe.name
    return {"name": bundle.name, "recipe": recipe, "shift_hu": shifts, **texture(residual_power(images, cases), full)}


def texture(power: NoisePower, full: NoisePower) -> dict[str, Any]:
    change = power.mean_frequency_per_mm / full.mean_frequency_per_mm - 1
    return {
        "excess": largest_excess(power, full),
        "fine_excess": largest_excess(power, full, FINE_PER_MM),
        "fine_ratio": power.above(FINE_PER_MM) / full.above(FINE_PER_MM),
        "mean_frequency_change": change,
        "ratio_by_band": (power.variance_hu2 / full.variance_hu2).tolist(),
        "sd_hu": float(np.sqrt(power.variance_hu2.sum())),
    }


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| denoiser | recipe | shift HU | excess | of fine bands | above 0.45/mm | mean frequency | image − truth HU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row['recipe']} | {np.median(row['shift_hu']) if row['shift_hu'] else 0:.2f} "
        f"| {row['excess']:.2f} | {row['fine_excess']:.2f} | {row['fine_ratio']:.2f} "
        f"| {row['mean_frequency_change']:+.1%} | {row['sd_hu']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def bands_of(full: NoisePower, rows: Sequence[dict[str, Any]]) -> str:
    """Return, for each band, its share of the full dose's variance and each row's ratio of power."""
    head = " | ".join(row["name"] for row in rows)
    lines = [f"| band per mm | full dose | {head} |", "|---|---|" + "---|" * len(rows)]
    for number, lower in enumerate(full.lower_per_mm):
        ratios = " | ".join(f"{row['ratio_by_band'][number]:.2f}" for row in rows)
        lines.append(f"| {lower:.2f} to {lower + full.width_per_mm:.2f} | {full.shares[number]:.1%} | {ratios} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("bundles", type=Path, nargs="*")
    parser.add_argument("--slices", type=int, default=24, help="over all patients")
    parser.add_argument("--patients", nargs="*", help="of COHORT; all of them by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    asked = parser.parse_args()
    patients = asked.patients or sorted(path.name for path in (asked.cohort / "truth").iterdir() if path.is_dir())
    cases = cases_of(asked.cohort, patients, asked.slices)
    full = residual_power([case.full_hu for case in cases], cases)
    low = residual_power([case.low.hu[case.number] for case in cases], cases)
    rows = [{"name": "low dose", "recipe": "–", "shift_hu": [], **texture(low, full)}]
    rows += [measured(bundle, cases, full, asked.threads) for bundle in asked.bundles]
    print(f"{len(cases)} slices of {', '.join(patients)}; full dose − truth {np.sqrt(full.variance_hu2.sum()):.1f} HU")
    print(f"{table_of(rows)}\n\n{bands_of(full, rows)}")
    if asked.json:
        bands = {"lower_per_mm": full.lower_per_mm.tolist(), "full_dose_shares": full.shares.tolist()}
        report = {"patients": patients, "slices": len(cases), **bands, "rows": rows}
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

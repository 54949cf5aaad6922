"""Shift of CT numbers by tissue and dose: what denoising changes in the mean of air, lung, fat, soft tissue and bone.

    .venv/bin/python benchmarks/tissue_shift.py MODEL … [--slices 4] [--patients 1] [--seed 101] [--threads 2] [--psnr]
    .venv/bin/python benchmarks/tissue_shift.py MODEL … --out     # also writes benchmarks/results/tissue_shift.json

MODEL is a denoiser bundle. Phantom patients of all regions are simulated at full dose and at each of `--doses`, with a
seed that no training of the documentation uses; dose 1 is the full dose itself. `--patients` is their number per
region. The shift is the mean of image minus full dose over the tissue's pixels, as `ldctpipe evaluate` measures it;
"truth" takes the noise-free phantom instead, which the clip of the scanner's 12 bits at −1024 HU leaves alone. Each
figure is the mean over slices, then over patients of the body (thorax, abdomen, pelvis); the head stands by itself. The
rows "low dose" show what the input has already. A star marks a shift beyond the tissue's gate.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.metrics.image_quality import image_quality, measured_mask
from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.metrics.tissue import TISSUES, bias_hu, tissue_masks
from ldctpipe.recipes.bundle import Bundle, read_bundle
from ldctpipe.simulation.cohort import KERNEL, CohortPlan, expose
from ldctpipe.simulation.ct_image import stored_values
from ldctpipe.simulation.kernels import match_kernel
from ldctpipe.simulation.phantom import noise_free_slices, tube_currents_ma
from ldctpipe.simulation.subject import scan
from ldctpipe.volumes.volume import Volume

REGIONS = ("thorax", "abdomen", "pelvis", "head")
RESULTS = Path(__file__).parent / "results" / "tissue_shift.json"
LOW_DOSE = "low dose"

Hu = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Phantom:
    """One patient: the noise-free scan, and what the scanner stores at each dose, (slices, rows, columns) int16."""

    region: str
    truth: Hu
    doses: dict[float, Hu]


def phantoms(options: argparse.Namespace) -> list[Phantom]:
    """Return the patients, from the folder `--phantoms` where an earlier call has put them."""
    name = f"{options.seed}-{options.patients}-{options.slices}-{'-'.join(f'{dose:g}' for dose in options.doses)}.npz"
    kept = options.phantoms / name if options.phantoms else None
    if kept is None or not kept.exists():
        made = list(_simulated(options))
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(kept, *(np.stack((each.truth, *each.doses.values())) for each in made))
        return made
    with np.load(kept) as arrays:
        return [
            Phantom(REGIONS[n % len(REGIONS)], arrays[key][0], dict(zip(options.doses, arrays[key][1:], strict=True)))
            for n, key in enumerate(arrays.files)
        ]


def _simulated(options: argparse.Namespace) -> Iterator[Phantom]:
    plan = CohortPlan(options.seed, slices=options.slices, regions=REGIONS, threads=options.threads)
    cutoff_per_mm = match_kernel(KERNEL).cutoff_per_mm
    for number in range(options.patients * len(REGIONS)):
        patient = plan.patient(number)
        truth, _ = noise_free_slices(patient, cutoff_per_mm, plan.threads)
        model, current_ma = expose(patient, truth, cutoff_per_mm, plan.seed), tube_currents_ma(patient)
        doses: dict[float, Hu] = {}
        for dose in options.doses:
            at = min(dose, 0.5)  # the full dose comes with any lower one
            full, low = scan(patient.subject, truth, model, current_ma, at, plan.seed, plan.threads)
            doses[dose] = _stored(full if dose == 1 else low)
        yield Phantom(patient.region, _stored(truth), doses)


def _stored(hu: npt.NDArray[np.float32]) -> Hu:
    lowest: Hu = np.int16(-1024)  # type: ignore[assignment]
    return stored_values(hu).astype(np.int16) + lowest


def measured(patient: Phantom, image: Hu) -> dict[str, float]:
    """Return each tissue's shift against the full dose and against the truth, and PSNR, in the mean over slices."""
    full, protocol = patient.doses[1.0], find_protocol("mayo-soft")
    rows: dict[str, list[float]] = {}
    for one, reference, truth in zip(image, full, patient.truth, strict=True):
        quality = image_quality(one, reference, measured_mask(reference, None, protocol), protocol)
        found = {"psnr_db": quality.psnr_db}
        for name, mask in tissue_masks(reference, np.ones(reference.shape, dtype=bool)).items():
            found |= {name: bias_hu(one, reference, mask), f"{name}_truth": bias_hu(one, truth, mask)}
        for name, value in found.items():
            if value is not None and np.isfinite(value):
                rows.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in rows.items()}


def denoised(model: Bundle, patient: Phantom, dose: float) -> Hu:
    """Return the patient's scan at `dose` as `ldctpipe denoise` would write it."""
    hu = patient.doses[dose]
    volume = Volume(hu, np.diag([0.7, 0.7, 2.0, 1.0]), 2.0 * np.arange(len(hu)), key="0" * 12)
    return np.asarray(Denoiser(model, torch.device("cpu")).denoise(volume), dtype=np.int16)


def table(patients: Sequence[Phantom], model: Bundle | None, doses: Sequence[float]) -> dict[str, dict[str, float]]:
    """Return the figures by "place, dose": of the mean body, and of the head."""
    found: dict[str, dict[str, float]] = {}
    for dose in doses:
        rows = [
            (patient.region, measured(patient, denoised(model, patient, dose) if model else patient.doses[dose]))
            for patient in patients
        ]
        for place, wanted in (("body", REGIONS[:3]), ("head", REGIONS[3:])):
            here = [figures for region, figures in rows if region in wanted]
            names = list(dict.fromkeys(name for figures in here for name in figures))
            found[f"{place} {dose:g}"] = {
                name: round(float(np.mean([each[name] for each in here if name in each])), 3) for name in names
            }
    return found


def show(name: str, rows: dict[str, dict[str, float]]) -> None:
    """Print one model's shifts; a star marks those beyond the gate of their tissue."""
    head = "".join(f"{f'{tissue.title} (±{tissue.gate_hu:g})':>18}" for tissue in TISSUES)
    print(f"\n{name}: shift in HU against the full dose (against the truth)\n{'':<12}{'PSNR':>8}{head}")
    for place, figures in rows.items():
        cells = []
        for tissue in TISSUES:
            against, true = figures.get(tissue.name), figures.get(f"{tissue.name}_truth")
            text = "–" if against is None or true is None else f"{against:+.2f} ({true:+.2f})"
            cells.append(f"{text + ('*' if tissue.is_shifted(against) else ' '):>18}")
        psnr = figures.get("psnr_db")
        print(f"{place:<12}{'–' if psnr is None else f'{psnr:.2f}':>8}{''.join(cells)}", flush=True)


def main() -> None:
    """Measure and print; write the figures where `--out` asks for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*", metavar="MODEL")
    parser.add_argument("--doses", type=float, nargs="+", default=[1.0, 0.5, 0.25, 0.1])
    parser.add_argument("--patients", type=int, default=1)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--phantoms", type=Path, help="folder to keep the simulated scans in")
    parser.add_argument("--out", type=Path, nargs="?", const=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    patients = phantoms(options)
    results = {LOW_DOSE: table(patients, None, options.doses)}
    show(LOW_DOSE, results[LOW_DOSE])
    for folder in options.models:
        results[folder.name] = table(patients, read_bundle(folder), options.doses)
        show(folder.name, results[folder.name])
    if options.out:
        settings = {name: getattr(options, name) for name in ("seed", "patients", "slices", "doses")}
        options.out.write_text(json.dumps({**settings, "shift_hu": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Does it carry over? Denoisers trained on phantoms, on real CT and on both, measured on real patients held out.

    .venv/bin/python benchmarks/carry_over.py [--iterations 150] [--seed 1] [--workers 2] [--work FOLDER] [--json FILE]

Runs the commands of ldctpipe in --work; what is done there stays done, so that the same command goes on after an
interruption. The reduced dose is a quarter or, where the table says "any dose", a new one for each patch. The patients
HELD_OUT neither train nor choose weights.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pydicom
from resumable_commands import run_unless_done

from ldctpipe.data.pairing import pair_volumes
from ldctpipe.data.scans import load_volumes

HELD_OUT = ("A002304", "A067967", "A072894")  # GE chest, Toshiba abdomen and trunk, GE chest and abdomen
SCAN_SEED = 1  # of phantoms and simulated noise; --seed is that of the trainings
VALIDATION = ("A048383", "L004")  # of the others: they choose the weights, with 2 and 20 slices
PHANTOMS, REAL, BOTH = "phantoms", "real", "both"
REAL_ANY_DOSE, PHANTOMS_ANY_DOSE = "real, any dose", "phantoms, any dose"
# The phantoms' noise at full dose is 12 HU, that of the real scans 10 to 31 HU: a lower end makes up for it.
DOSE_RANGES = {REAL_ANY_DOSE: "0.1:0.6", PHANTOMS_ANY_DOSE: "0.03:0.6"}

_MINI = ("--recipe", "wgan-gp-effnetv2-mini", "--no-pretrained")
RECIPES = {
    # Without its weight the critic teaches nothing; one channel and one update keep it from taking time.
    "supervised": (
        *_MINI,
        *("--set", "losses.adversarial=0", "--set", "algorithm.critic_updates=1"),
        *("--set", "critic.channels=[1]", "--set", "critic.hidden=1"),
    ),
    "wgan-gp mini": _MINI,
}
LEFT_OUT = [(name, "wgan-gp mini") for name in DOSE_RANGES]  # to stay within a quarter of an hour

MEASURES = ("psnr_db", "ssim", "rmse_hu", "bias_hu", "noise_sd_hu")


class Plan(NamedTuple):
    """What is asked for, and where."""

    work: Path
    data: Path
    iterations: int
    seed: int
    threads: int

    def run(self, out: Path, *arguments: object) -> None:
        """Run one command of ldctpipe that writes `out`, unless that is there; its log goes beside it."""
        run_unless_done(out, *arguments, threads=self.threads)


def make_scans(plan: Plan) -> None:
    """Make phantoms, and quarter doses of the real patients, for training and held out apart."""
    phantoms = plan.work / "phantoms"
    shape = ("--patients", 4, "--slices", 20, "--seed", SCAN_SEED)
    plan.run(phantoms, "phantom", phantoms, *shape, "--threads", plan.threads)
    for patient in sorted(path for path in plan.data.iterdir() if path.is_dir()):
        copy = plan.work / ("held_out" if patient.name in HELD_OUT else "real") / patient.name
        if not copy.exists():
            shutil.copytree(patient, copy)
    for name in ("held_out", "real"):
        quarter = plan.work / f"{name}_quarter"
        plan.run(quarter, "simulate", plan.work / name, quarter, "--seed", SCAN_SEED, "--threads", plan.threads)


def make_stores(plan: Plan) -> dict[str, Path]:
    """Write samplesheet and training store of each training set; return the stores by its name."""
    rows = {PHANTOMS: _phantom_rows(plan), REAL: _real_rows(plan)}
    rows |= {BOTH: rows[PHANTOMS] + rows[REAL], REAL_ANY_DOSE: rows[REAL], PHANTOMS_ANY_DOSE: rows[PHANTOMS]}
    stores = {}
    for name, lines in rows.items():
        plain = name.replace(", ", "_").replace(" ", "_")
        sheet, stores[name] = plan.work / f"{plain}.csv", plan.work / f"store_{plain}"
        sheet.write_text("\n".join(("patient,low_dose,full_dose,split", *lines)) + "\n", encoding="utf-8")
        doses = ("--dose-range", DOSE_RANGES[name], "--vary", "--seed", SCAN_SEED) if name in DOSE_RANGES else ()
        plan.run(stores[name], "prepare", sheet, stores[name], *doses, "--threads", plan.threads)
    return stores


def _phantom_rows(plan: Plan) -> list[str]:
    sheet = plan.work / "phantoms_found.csv"
    plan.run(sheet, "samplesheet", plan.work / "phantoms", sheet)
    found = (line.split(",") for line in sheet.read_text(encoding="utf-8").splitlines()[1:])
    return [f"{patient},{low},{full},{_split(patient)}" for patient, low, full, _ in found]


def _real_rows(plan: Plan) -> list[str]:
    patients = sorted(path.name for path in (plan.work / "real").iterdir())
    return [f"{name},real_quarter/{name},real/{name},{_split(name)}" for name in patients]


def _split(patient: str) -> str:
    return "validation" if patient in VALIDATION else "train"


def measure(plan: Plan, training_set: str, recipe: str, store: Path) -> dict[str, Any]:
    """Train one denoiser, let it denoise the patients held out, and return its figures."""
    name = f"{recipe}_{store.name.removeprefix('store_')}_{plan.iterations}_{plan.seed}".replace(" ", "_")
    model, denoised, metrics = (plan.work / f"{kind}_{name}" for kind in ("model", "denoised", "metrics"))
    lengths = ("--iterations", plan.iterations, "--seed", plan.seed, "--threads", plan.threads, "--resume")
    plan.run(model, "train", store, model, *RECIPES[recipe], *lengths)
    plan.run(denoised, "denoise", plan.work / "held_out_quarter", denoised, "--model", model, "--threads", plan.threads)
    _name_by_patient(denoised)
    quarter = plan.work / "held_out_quarter"
    plan.run(metrics, "evaluate", denoised, plan.work / "held_out", metrics, "--low-dose", quarter)
    training = json.loads((model / "card.json").read_text(encoding="utf-8"))["training"]
    told = {key: training[key] for key in ("seconds", "best_iteration")}
    return {"trained_on": training_set, "recipe": recipe, **told, **_figures(metrics / "slices.csv")}


def _name_by_patient(denoised: Path) -> None:
    """Rename the folders of patients, which `denoise` names by a key, to the PatientID that their full dose has."""
    for folder in [path for path in denoised.iterdir() if path.is_dir() and path.name not in HELD_OUT]:
        image = pydicom.dcmread(next(folder.glob("*.dcm")), stop_before_pixels=True)
        folder.rename(denoised / str(image.PatientID))


def _figures(table: Path) -> dict[str, Any]:
    """Return means over patients of low dose and denoised, and each patient's differences, denoised − low dose."""
    slices = pd.read_csv(table)
    patients = slices.groupby([slices["method"] == "low_dose", "patient"])[list(MEASURES)].mean()
    low, denoised = patients.loc[True], patients.loc[False]
    before, after = (
        slices[mine].set_index("series") for mine in (slices["method"] == "low_dose", slices["method"] != "low_dose")
    )
    each = pd.DataFrame(
        {
            "patient": before["patient"],
            "noise_sd_hu": before["noise_sd_hu"],
            "gain_db": after["psnr_db"] - before["psnr_db"],
        }
    )
    return {
        "slices": len(each),
        "low_dose": low.mean().to_dict(),
        "denoised": denoised.mean().to_dict(),
        "difference": (denoised - low).to_dict("index"),
        "difference_sd": (denoised - low).std().to_dict(),
        "full_dose_noise_sd_hu": float(slices.groupby("patient")["full_dose_noise_sd_hu"].mean().mean()),
        "each_slice": each.to_dict("records"),
    }


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table to print, in Markdown: low dose first, then a line a denoiser."""
    lines = [
        "| trained on | recipe | PSNR dB | SSIM | RMSE HU | ΔPSNR dB a patient (sd) | ΔSSIM (sd) "
        "| bias HU | noise HU | best iteration | training s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        f"| – | low dose | {_values(rows[0]['low_dose'])} | – | – | {_tissue(rows[0]['low_dose'])} | – | – |",
    ]
    for row in rows:
        each = " ".join(f"{one['psnr_db']:+.2f}" for one in row["difference"].values())
        ssim = sum(one["ssim"] for one in row["difference"].values()) / len(row["difference"])
        sd = row["difference_sd"]
        lines.append(
            f"| {row['trained_on']} | {row['recipe']} | {_values(row['denoised'])} | {each} ({sd['psnr_db']:.2f}) "
            f"| {ssim:+.3f} ({sd['ssim']:.3f}) | {_tissue(row['denoised'])} "
            f"| {row['best_iteration']} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines)


def gains_of(rows: Sequence[dict[str, Any]]) -> str:
    """Return the gain in PSNR of each slice held out, the quietest first."""
    order = sorted(range(rows[0]["slices"]), key=lambda index: rows[0]["each_slice"][index]["noise_sd_hu"])
    names = " | ".join(f"{rows[0]['each_slice'][index]['noise_sd_hu']:.0f} HU" for index in order)
    lines = [f"| gain in dB where the low dose has noise of | {names} |", "|---|" + "---|" * len(order)]
    for row in rows:
        gains = " | ".join(f"{row['each_slice'][index]['gain_db']:+.2f}" for index in order)
        lines.append(f"| {row['trained_on']}, {row['recipe']} | {gains} |")
    return "\n".join(lines)


def print_textures(plan: Plan) -> None:
    """Print the range, over slices, of the correlation of neighbouring pixels of the noise that was added."""
    for name in ("phantoms", "real", "held_out"):
        pairs = (plan.work / "phantoms" / "quarter_3mm", plan.work / "phantoms" / "full_3mm")
        low, full = pairs if name == "phantoms" else (plan.work / f"{name}_quarter", plan.work / name)
        found = [value for patient in sorted(full.iterdir()) for value in _textures(low / patient.name, patient)]
        print(f"{name}: neighbouring pixels of the added noise correlate with {min(found):.2f} to {max(found):.2f}")


def _textures(low_dose: Path, full_dose: Path) -> list[float]:
    pairs = pair_volumes(load_volumes(low_dose), load_volumes(full_dose))
    return [
        _neighbours_correlate(pair.low.hu[low], pair.full.hu[full])
        for pair in pairs
        for low, full in zip(pair.low_index, pair.full_index, strict=True)
    ]


def _neighbours_correlate(low: npt.NDArray[Any], full: npt.NDArray[Any]) -> float:
    tissue, noise = (full > -100) & (full < 200), low.astype(np.float64) - full
    both = tissue[:, 1:] & tissue[:, :-1]
    return float(np.corrcoef(noise[:, 1:][both], noise[:, :-1][both])[0, 1])


def _values(means: dict[str, float]) -> str:
    return f"{means['psnr_db']:.2f} | {means['ssim']:.3f} | {means['rmse_hu']:.2f}"


def _tissue(means: dict[str, float]) -> str:
    return f"{means['bias_hu']:+.2f} | {means['noise_sd_hu']:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("out/carry_over"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data/raw/body"), help="PATIENT/….dcm, full dose")
    parser.add_argument("--iterations", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each of them")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    missing = [patient for patient in HELD_OUT if not (options.data / patient).is_dir()]
    if missing:
        print(f"{options.data} lacks the patients {', '.join(missing)}: nothing is measured")
        return
    options.work.mkdir(parents=True, exist_ok=True)
    plan = Plan(options.work.resolve(), options.data, options.iterations, options.seed, options.threads)
    make_scans(plan)
    stores = make_stores(plan)
    jobs = [(name, recipe) for recipe in RECIPES for name in stores if (name, recipe) not in LEFT_OUT]
    with ThreadPoolExecutor(options.workers) as pool:
        rows = list(pool.map(lambda job: measure(plan, *job, stores[job[0]]), jobs))
    print(f"{platform.machine()}, {options.workers} trainings at a time with {options.threads} threads each")
    print(
        f"{options.iterations} iterations, seed {options.seed}; {rows[0]['slices']} slices of {len(HELD_OUT)} patients"
    )
    print(table_of(rows))
    print(gains_of(rows))
    print_textures(plan)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        settings = {"iterations": options.iterations, "seed": options.seed, "held_out": HELD_OUT}
        options.json.write_text(json.dumps({**settings, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""The tuned flagship beside other methods at equal time, on sources that none of them was trained on.

    .venv/bin/python benchmarks/flagship.py [--minutes 30] [--seeds 1 2 3] [--recipes NAME...] [--folds NAME...]
        [--threads 2] [--work out/flagship] [--data ../shared/data] [--json FILE]

Two folds leave one source of real CT out: "singles" trains on phantoms and the single slices and is measured on the
body patients, "body" the reverse. Each training gets as many iterations as --minutes hold, by the time that a short one
takes. Rows are measured on the source left out (PSNR, SSIM and RMSE of `mayo-soft`, bias by tissue, ST-LPIPS where
stlpips-pytorch is installed) and on a phantom held out (shift by one pixel and noise, see shift_and_texture.py).

What is done is in --work and in the JSON, row by row: the same command goes on after an interruption, also in the
middle of a training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from resumable_commands import run_unless_done
from shift_and_texture import cases_of, measured, residual_power

from ldctpipe.data.pairing import pair_volumes
from ldctpipe.data.scans import load_volumes

SCAN_SEED = 1
HELD_OUT_PHANTOM = "L004"
SOURCES = {"body": "raw/body", "singles": "singles"}
CALIBRATION = 20  # iterations of the short training that says how long one takes
QUICK = ("--set", "algorithm.critic_updates=1", "--set", "critic.channels=[1]", "--set", "critic.hidden=1")
TUNED = "wgan-gp-efflite0-tuned"
METHODS: dict[str, tuple[str, ...]] = {
    TUNED: (TUNED,),
    # Without its weight the critic teaches nothing; one channel and one update keep it from taking time.
    "the same, L1 alone": (TUNED, "--set", "losses.adversarial=0", "--set", "losses.perceptual=0", *QUICK),
    "wgan-gp-efflite0": ("wgan-gp-efflite0",),
    "red-cnn": ("red-cnn",),
    "nafnet, 16 channels": (
        *("nafnet", "--set", "generator.channels=16", "--set", "generator.encoder_blocks=[1,1,1,4]"),
        *("--set", "generator.middle_blocks=1", "--set", "generator.decoder_blocks=[1,1,1,1]"),
        *("--set", "data.patch_size=64"),
    ),
    "du-gan": ("du-gan",),
}
MEASURES = ("psnr_db", "ssim", "rmse_hu", "bias_hu")


@dataclass(frozen=True)
class Plan:
    """Where the work lies and what each training gets."""

    work: Path
    data: Path
    minutes: float
    threads: int

    def run(self, out: Path, *arguments: object) -> None:
        """Run one command of ldctpipe that writes `out`, unless that is there; its log goes beside it."""
        run_unless_done(out, *arguments, threads=self.threads)


def make_scans(plan: Plan) -> None:
    """Make the phantoms and quarter doses of all real patients."""
    shape = ("--patients", 4, "--slices", 20, "--seed", SCAN_SEED)
    plan.run(plan.work / "phantoms", "phantom", plan.work / "phantoms", *shape, "--threads", plan.threads)
    for name, folder in SOURCES.items():
        quarter = plan.work / f"{name}_quarter"
        plan.run(quarter, "simulate", plan.data / folder, quarter, "--seed", SCAN_SEED, "--threads", plan.threads)


def make_store(plan: Plan, left_out: str) -> Path:
    """Return the training store of all phantoms but one and of the sources that are not left out."""
    sheet, store = plan.work / f"without_{left_out}.csv", plan.work / f"store_without_{left_out}"
    found = plan.work / "phantoms.csv"
    plan.run(found, "samplesheet", plan.work / "phantoms", found, "--test-patients", HELD_OUT_PHANTOM)
    rows = found.read_text(encoding="utf-8").splitlines()
    for name, folder in SOURCES.items():
        if name != left_out:
            patients = sorted(path.name for path in (plan.data / folder).iterdir() if path.is_dir())
            rows += [f"{p},{plan.work / f'{name}_quarter' / p},{plan.data / folder / p},train" for p in patients]
    sheet.write_text("\n".join(rows) + "\n", encoding="utf-8")
    plan.run(store, "prepare", sheet, store, "--threads", plan.threads)
    return store


def trained(plan: Plan, store: Path, method: str, seed: int) -> Path:
    """Return a bundle that was trained for the minutes of the plan."""
    recipe, *changes = METHODS[method]
    name = f"{''.join(c if c.isalnum() else '_' for c in method)}-{store.name}-{seed}"
    common = ("--recipe", recipe, *changes, "--device", "cpu", "--threads", plan.threads, "--previews", 0)
    common += ("--set", f"training.log_every={CALIBRATION // 2}", "--set", "training.validation_slices=4")
    trial, model = plan.work / f"trial-{name}", plan.work / f"model-{name}-{plan.minutes:g}"
    plan.run(trial, "train", store, trial, *common, "--iterations", CALIBRATION)
    taken = float(pd.read_csv(trial / "training.csv")["iteration_s"].iloc[-1])
    iterations = max(CALIBRATION, round(60 * plan.minutes / taken))
    whole = ("--set", f"training.early_stopping_iterations={iterations}")
    often = (
        "--set",
        f"training.validate_every={max(1, iterations // 10)}",
        "--checkpoint-every",
        max(1, iterations // 20),
    )
    length = ("--iterations", iterations, "--seed", seed, "--resume")
    plan.run(model, "train", store, model, *common, *whole, *often, *length)
    return model


def figures(plan: Plan, source: str, model: Path) -> dict[str, Any]:
    """Return the means over patients of what `evaluate` measures on the source left out."""
    denoised, metrics = (plan.work / f"{kind}-{source}-{model.name}" for kind in ("denoised", "metrics"))
    full, low = plan.data / SOURCES[source], plan.work / f"{source}_quarter"
    plan.run(denoised, "denoise", low, denoised, "--model", model, "--device", "cpu", "--threads", plan.threads)
    plan.run(metrics, "evaluate", denoised, full, metrics, "--low-dose", low, "--threads", plan.threads)
    slices = pd.read_csv(metrics / "slices.csv")
    wanted = [*MEASURES, *(name for name in slices if name.startswith("bias_") and name.endswith("_hu"))]
    means = slices.groupby([slices["method"] == "low_dose", "patient"])[list(dict.fromkeys(wanted))].mean()
    return {
        "denoised": means.loc[False].mean().to_dict(),
        "low_dose": means.loc[True].mean().to_dict(),
        "st_lpips": st_lpips(denoised, full),
    }


def st_lpips(denoised: Path, full: Path) -> float | None:
    """Return the mean ST-LPIPS (AlexNet) of denoised and full dose in the window [−160, 240] HU, where it is there."""
    try:
        from stlpips_pytorch import stlpips
    except ImportError:
        return None
    import torch

    network = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
    values = []
    for pair in pair_volumes(load_volumes(denoised), load_volumes(full), role="denoised"):
        for low, high in zip(pair.low_index, pair.full_index, strict=True):
            images = [pair.low.hu[low], pair.full.hu[high]]
            shown = [torch.as_tensor(np.clip((x + 160.0) / 200 - 1, -1, 1), dtype=torch.float32) for x in images]
            with torch.inference_mode():
                values.append(float(network(*(x.expand(1, 3, *x.shape) for x in shown))))
    return float(np.mean(values))


def measure(plan: Plan, source: str, method: str, seed: int) -> dict[str, Any]:
    """Train one denoiser and return its row."""
    model = trained(plan, make_store(plan, source), method, seed)
    cases = cases_of(plan.work / "phantoms", [HELD_OUT_PHANTOM], 20)
    full = residual_power([case.full_hu for case in cases], cases)
    training = json.loads((model / "card.json").read_text(encoding="utf-8"))["training"]
    told = {key: training[key] for key in ("seconds", "iterations", "best_iteration")}
    row = {"left_out": source, "method": method, "seed": seed, "minutes": plan.minutes, **told}
    return {**row, **figures(plan, source, model), "phantom": measured(model, cases, full, plan.threads)}


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| left out | method | seed | iterations | PSNR dB | SSIM | RMSE HU | bias HU | ST-LPIPS "
        "| shift HU | excess | above 0.45/mm | mean frequency |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        found, phantom = row["denoised"], row["phantom"]
        lpips = "–" if row["st_lpips"] is None else f"{row['st_lpips']:.4f}"
        lines.append(
            f"| {row['left_out']} | {row['method']} | {row['seed']} | {row['iterations']} | {found['psnr_db']:.2f} "
            f"| {found['ssim']:.3f} | {found['rmse_hu']:.2f} | {found['bias_hu']:+.2f} | {lpips} "
            f"| {np.median(phantom['shift_hu']):.2f} | {phantom['excess']:.2f} | {phantom['fine_ratio']:.2f} "
            f"| {phantom['mean_frequency_change']:+.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--recipes", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--folds", nargs="*", default=list(SOURCES), choices=list(SOURCES), help="the source left out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("out/flagship"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", type=Path, default=Path("out/flagship/flagship.json"))
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    plan = Plan(asked.work.resolve(), asked.data.resolve(), asked.minutes, asked.threads)
    make_scans(plan)
    rows = json.loads(asked.json.read_text(encoding="utf-8")) if asked.json.is_file() else []
    done = {(row["left_out"], row["method"], row["seed"], row["minutes"]) for row in rows}
    for seed in asked.seeds:
        for source in asked.folds:
            for method in asked.recipes:
                if (source, method, seed, asked.minutes) not in done:
                    rows.append(measure(plan, source, method, seed))
                    asked.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
                    print(table_of(rows[-1:]).splitlines()[-1], flush=True)
    print(table_of(rows))


if __name__ == "__main__":
    main()

"""A sweep's folder as the pipeline leaves it, with trainings of a known course."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.metrics.tissue import TISSUES
from ldctpipe.recipes.sweep import load_sweep
from ldctpipe.recipes.sweep_plan import Plan, plan_sweep, write_plan

METHOD = "wgan-gp-effnetv2-mini"
AT = np.arange(100, 10_100, 100.0)

Course = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def steady(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Validation PSNR and critic loss of a training that goes well."""
    return 33 - 5 * np.exp(-AT / 800) + random.normal(0, 0.03, len(AT)), random.normal(0, 0.1, len(AT))


def collapsing(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same, until validation PSNR falls by 4 dB at iteration 4,600."""
    psnr_db, critic = steady(random)
    return psnr_db - 4 * (AT > 4500), critic


def slow(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same, four times as slow."""
    return 33 - 5 * np.exp(-AT / 3200) + random.normal(0, 0.03, len(AT)), random.normal(0, 0.1, len(AT))


def wavering(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same with unrest in the validations, and a critic far beyond the band at the beginning."""
    psnr_db, critic = steady(random)
    return psnr_db + random.normal(0, 0.6, len(AT)), critic + 5 * np.exp(-AT / 300)


def make_sweep(
    folder: Path,
    sweep: str,
    courses: dict[str, Course],
    *,
    repeats: int = 3,
    pretrained: bool = True,
    recipe: str | None = METHOD,
) -> Plan:
    """Write the plan of `sweep` and all its runs; points without a course of their own are steady."""
    plan = plan_sweep(load_sweep(sweep), recipe, pretrained=pretrained, repeats=repeats)
    write_plan(plan, folder / "runs" / "plan.csv")
    for number, run in enumerate(plan.runs):
        if run.same_as is None:
            random = np.random.default_rng(number)
            psnr_db, critic = courses.get(run.point, steady)(random)
            write_model(folder / "runs" / run.id / "model", psnr_db, critic, run.seed)
            write_metrics(folder / "runs" / run.id / "metrics", float(psnr_db.max()))
    return plan


def write_model(folder: Path, psnr_db: np.ndarray, critic: np.ndarray, seed: int) -> None:
    folder.mkdir(parents=True)
    log = pd.DataFrame({"iteration": AT.astype(int), "loss_critic": critic, "validation_psnr_db": psnr_db})
    log.to_csv(folder / "training.csv", index=False)
    training = {"iterations": 10_000, "best_iteration": 9_000, "seconds": 61.0, "device": "cpu", "seed": seed}
    notes = ["This is the mini recipe, a small relative of the published method; its results are not the method's."]
    (folder / "card.json").write_text(json.dumps({"name": METHOD, "training": training, "notes": notes}))


def write_metrics(
    folder: Path, psnr_db: float, patients: tuple[str, ...] = ("L003",), fid: float | None = None, slices: int = 4
) -> None:
    folder.mkdir(parents=True)

    def values(psnr_db: float, ssim: float) -> dict[str, dict[str, float]]:
        means = {"psnr_db": psnr_db, "ssim": ssim, "rmse_hu": 400 / 10 ** (psnr_db / 20)}
        means |= dict.fromkeys((tissue.measure for tissue in TISSUES), 0.1)
        return {name: {"mean": value, "sd": None, "ci95": None} for name, value in means.items()}

    protocol = find_protocol("mayo-soft")
    summary = {
        "format": "ldctpipe-evaluation@1",
        "protocol": protocol.label,
        "protocol_definition": protocol.model_dump(mode="json"),
        "methods": {"low_dose": values(29.0, 0.88), METHOD: values(psnr_db, 0.91 + psnr_db / 1e4)},
        "gains": {METHOD: {"psnr_db": {"mean": psnr_db - 29.0, "sd": None, "ci95": None}}},
        "patients": {patient: {} for patient in patients},
        "n_patients": len(patients),
        "n_slices": slices,
        "bootstrap": {"unit": "patient", "resamples": 10_000, "level": 0.95, "seed": 1},
        "warnings": [],
        "feature_distances": fid and {"methods": {METHOD: {"kid": fid / 1000, "fid": fid}}},
    }
    (folder / "summary.json").write_text(json.dumps(summary))

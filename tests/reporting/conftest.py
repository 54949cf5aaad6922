"""A plausible run: an evaluated cohort of simulated slices, with the bundle that a training leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn_cases import anatomy, evaluate, put


def put_patient(root: Path, name: str, seed: int, slices: int = 5) -> None:
    random = np.random.default_rng(seed)
    clean = anatomy(seed, slices)
    full = clean + random.normal(0, 8, clean.shape)
    low = clean + random.normal(0, 25, clean.shape)
    put(root / "cases" / name / "full_dose", full, f"f{seed:011d}")
    put(root / "cases" / name / "low_dose", low, f"a{seed:011d}")
    put(root / "denoised" / name, 0.3 * low + 0.7 * clean, f"d{seed:011d}")
    manifest = {"format": "ldctpipe-denoised@1", "model": {"name": "wgan-gp-effnetv2-mini"}, "series": []}
    (root / "denoised" / name / "manifest.json").write_text(json.dumps(manifest))


def write_bundle(folder: Path) -> None:
    folder.mkdir()
    card = {
        "format": "ldctpipe-bundle@1",
        "name": "wgan-gp-effnetv2-mini",
        "title": "EfficientNetV2-B0 generator with a narrow critic",
        "intended_use": "Research; not a medical device.",
        "weights": {"file": "model.safetensors", "sha256": "cd" * 32, "parameters": 6_123_456},
        "recipe_sha256": "ef" * 32,
        "pretrained": False,
        "notes": ["The perceptual term was left out because there are no pretrained weights"],
        "training": {
            "iterations": 900, "stopped_because": "its budget was spent", "best_iteration": 850,
            "validation_loss": 0.0213, "seconds": 312.4, "device": "cpu", "seed": 1,
        },
        "data": {
            "patients": ["L001", "L002"], "validation_patients": ["L003"], "slices": 60, "store_sha256": "12" * 32,
            "voxels": {"slice_spacing_mm": [3.0, 3.0], "pixel_mm": [0.664, 0.8457]},
        },
        "normalization": {"lower_hu": -1000, "upper_hu": 2000},
        "versions": {"torch": "2.15.0"},
        "revision": "0123abc",
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "recipe.yaml").write_text("name: wgan-gp-effnetv2-mini\nlosses: {adversarial: 1.0, pixel: 1.0}\n")
    iteration = np.arange(0, 900, 10)
    training = pd.DataFrame({"iteration": iteration, "loss_pixel": 0.02 + np.exp(-iteration / 200)})
    training["wasserstein"] = np.exp(-iteration / 300)
    training["validation_psnr_db"] = np.where(iteration % 100 == 0, 28 - np.exp(-iteration / 300), np.nan)
    training.to_csv(folder / "training.csv", index=False)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with one evaluated patient and a bundle, for reading only."""
    folder = tmp_path_factory.mktemp("run")
    put_patient(folder, "L004", seed=4)
    evaluate(folder)
    write_bundle(folder / "model")
    return folder


@pytest.fixture
def bare_run(finished_run: Path, tmp_path: Path) -> Path:
    """A run folder with an evaluation and nothing else."""
    shutil.copytree(finished_run / "metrics", tmp_path / "metrics")
    return tmp_path


@pytest.fixture
def full_run(finished_run: Path, bare_run: Path) -> Path:
    """A run folder with an evaluation and a bundle."""
    shutil.copytree(finished_run / "model", bare_run / "model")
    return bare_run

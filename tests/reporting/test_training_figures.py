"""Figures 6 and 7 of the publication, and the curves of the report, from stores and training logs."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import rotate

from ldctpipe.cli.app import run
from ldctpipe.data.store import open_store
from ldctpipe.errors import ExitCode, InputError, UsageError
from ldctpipe.recipes.library import load_recipe, recipe_to_yaml
from ldctpipe.reporting import augmentation_figure
from ldctpipe.reporting.training_curves import Panel, draw_panel, training_curves
from ldctpipe.reporting.training_figure import write_training_figure

ITERATIONS = np.arange(10, 510, 10)


def log_of(seed: int = 0, **columns) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    names = ("loss_generator", "loss_perceptual", "loss_adversarial", "loss_critic", "wasserstein")
    drawn = {name: 1 + random.random(len(ITERATIONS)) for name in names}
    return pd.DataFrame({"iteration": ITERATIONS, **drawn, **columns})


def put_training(folder: Path, seed: int = 1, *changes: str, **columns) -> Path:
    folder.mkdir(parents=True)
    log_of(seed, **columns).to_csv(folder / "training.csv", index=False)
    (folder / "recipe.yaml").write_text(recipe_to_yaml(load_recipe("wgan-gp-effnetv2", changes, seed=seed)))
    return folder


def words_of(svg: str) -> set[str]:
    """The texts of an SVG by matplotlib, which keeps them as comments beside their outlines."""
    return {word.strip() for word in re.findall(r"<!--(.*?)-->", svg)}


def lines_of(panel: Panel, runs: list[pd.DataFrame]) -> dict[str, np.ndarray]:
    """What a panel draws: the points of each labelled line, (points, 2)."""
    axes = Figure().subplots()
    draw_panel(axes, panel, runs)
    return {str(line.get_label()): line.get_xydata() for line in axes.lines}


def test_the_losses_of_a_training(tmp_path):
    bundle = put_training(tmp_path / "model")

    assert run(["figure", "training", str(bundle), str(tmp_path / "losses.svg")]) == ExitCode.DONE

    words = words_of((tmp_path / "losses.svg").read_text())
    assert {"Perceptual loss", "Adversarial", "Total loss of the generator", "Loss of the critic"} <= words
    assert {"× 0.1, as in the total", "published: −0.5 to 0.5", "EfficientNetV2-M + WGAN-GP"} <= words


def test_a_training_without_perceptual_term_or_recipe_says_so(tmp_path):
    (tmp_path / "run.checkpoints").mkdir()
    log_of().drop(columns="loss_perceptual").to_csv(tmp_path / "run.checkpoints" / "training.csv", index=False)

    assert write_training_figure(tmp_path / "run.checkpoints", tmp_path / "losses.svg") == 1

    words = words_of((tmp_path / "losses.svg").read_text())
    assert {"Training losses", "not in this training's log"} <= words


def test_repeats_are_drawn_as_mean_and_deviation(tmp_path):
    for seed in (1, 2, 3):
        put_training(tmp_path / "runs" / f"seed-{seed}", seed)

    assert write_training_figure(tmp_path / "runs", tmp_path / "figure.png") == 3

    logs = [log_of(seed) for seed in (1, 2, 3)]
    drawn = lines_of(Panel("", {"loss_critic": "critic"}), logs)["critic"]
    assert np.allclose(drawn[:, 1], np.mean([log["loss_critic"] for log in logs], axis=0))
    with Image.open(tmp_path / "figure.png") as picture:
        assert min(picture.size) > 1000


def test_the_band_is_one_standard_deviation():
    logs = [log_of(seed) for seed in (1, 2, 3)]
    axes = Figure().subplots()

    draw_panel(axes, Panel("", {"loss_critic": "critic"}), logs)

    (band,) = axes.collections
    highest = band.get_paths()[0].vertices[:, 1].max()
    values = np.stack([log["loss_critic"] for log in logs])
    assert highest == pytest.approx((values.mean(axis=0) + values.std(axis=0, ddof=1)).max())


def test_the_same_log_gives_the_same_figure(tmp_path):
    bundle = put_training(tmp_path / "model")
    for kind in ("png", "svg"):
        write_training_figure(bundle, tmp_path / f"a.{kind}")
        write_training_figure(bundle, tmp_path / f"b.{kind}")
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_what_is_no_training_is_refused(tmp_path):
    put_training(tmp_path / "runs" / "a", 1)
    put_training(tmp_path / "runs" / "b", 2, "losses.pixel=2.0")
    (tmp_path / "short").mkdir()
    (tmp_path / "short" / "training.csv").write_text("iteration,loss_critic\n1,2.0\n")
    (tmp_path / "empty").mkdir()

    for source, says in (("runs", "another recipe than a"), ("short", "fewer than two"), ("empty", "no training.csv")):
        with pytest.raises(InputError, match=says):
            write_training_figure(tmp_path / source, tmp_path / "out.png")
    with pytest.raises(UsageError, match=r"end it in \.png or \.svg"):
        write_training_figure(tmp_path / "runs" / "a", tmp_path / "out.jpg")
    assert not list(tmp_path.glob("*out*"))


def test_the_report_shows_gradients_time_and_memory_where_they_were_logged():
    ones = np.ones(len(ITERATIONS))
    norms = {f"gradient_norm_{term}": ones * 0.1 for term in ("adversarial", "pixel", "generator", "critic")}
    measured = {"validation_ssim": ones, "validation_rmse_hu": ones, "iteration_s": ones, "memory_mib": 5200 * ones}

    words = words_of(decoded(training_curves(log_of(**norms, **measured))))

    assert {"Norm of the gradient of each term", "Time of an iteration (s)", "Memory (MiB)"} <= words
    assert {"Validation SSIM", "Validation RMSE (HU)"} <= words
    assert "Memory (MiB)" not in words_of(decoded(training_curves(log_of())))
    empty = dict.fromkeys((*norms, *measured), ones * np.nan)
    assert training_curves(log_of(**empty)) == training_curves(log_of())


def decoded(uri: str | None) -> str:
    assert uri is not None
    return base64.b64decode(uri.partition(",")[2]).decode()


def test_a_gradient_of_zero_does_not_break_the_logarithmic_scale():
    panel = Panel("", {"gradient_norm_pixel": "L1"}, is_logarithmic=True)
    log = log_of(gradient_norm_pixel=np.where(ITERATIONS > 100, 0.5, 0.0))

    assert (lines_of(panel, [log])["L1"][:, 1] > 0).all()
    assert panel.drawable([log_of(gradient_norm_pixel=np.zeros(len(ITERATIONS)))]) == {}


def test_a_term_keeps_its_colour_where_another_is_missing():
    panel = Panel("", {"loss_pixel": "L1", "loss_critic": "critic"})
    axes, whole = Figure().subplots(), Figure().subplots()

    draw_panel(axes, panel, [log_of()])
    draw_panel(whole, panel, [log_of(loss_pixel=1.0)])

    assert axes.lines[0].get_color() == whole.lines[1].get_color()


def test_each_transform_of_the_recipe_on_one_patch_pair(tiny_store, tmp_path):
    out = tmp_path / "augmentation.svg"

    assert run(["figure", "augmentation", str(tiny_store), str(out), "--seed", "3"]) == ExitCode.DONE

    words = words_of(out.read_text())
    assert {
        "none",
        "rotation by 45°",
        "flip, upside down",
        "flip, mirrored",
        "intensity × 0.5",
        "intensity × 2",
    } <= words
    assert {"low dose", "full dose"} <= words


def test_the_patches_are_those_of_training(tiny_store):
    recipe = load_recipe("wgan-gp-effnetv2")
    windows = augmentation_figure._window_pair(open_store(tiny_store), recipe, seed=3)
    changes = augmentation_figure._changes(recipe)

    shown = dict(zip(changes, augmentation_figure._transformed(windows, list(changes.values()), recipe), strict=True))

    plain = shown["none"]
    assert plain.shape == (2, 64, 64)
    assert not torch.equal(plain[0], plain[1])  # low and full dose
    assert torch.equal(shown["flip, upside down"], plain.flip(1))
    assert torch.equal(shown["flip, mirrored"], plain.flip(2))
    assert torch.equal(shown["intensity × 2"], (2 * plain).clamp(max=1))
    turned = rotate(windows[0].double().numpy(), 45, axes=(2, 1), reshape=False, order=1, mode="nearest")
    assert np.abs(shown["rotation by 45°"].numpy() - turned[:, 15:79, 15:79]).max() < 1e-5


def test_a_recipe_with_fewer_transforms_has_fewer_columns(tiny_store, tmp_path):
    recipe = load_recipe("wgan-gp-effnetv2", ["data.augmentation.choices=[flip, none]"])

    assert augmentation_figure.write_augmentation_figure(tiny_store, tmp_path / "f.png", recipe, seed=1) == 3

"""Pictures of the acceptance tests: spectrum against kernel, noise maps, standard deviation against dose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from ldctpipe.simulation.acceptance_bench import Check


def write_plots(folder: Path, checks: Sequence[Check]) -> None:
    """Write `spectrum.png`, `noise_maps.png` and `sd_against_dose.png` from what the checks kept."""
    for check in checks:
        if "spectrum" in check.curves:
            _spectrum(folder / "spectrum.png", check)
        if "maps" in check.curves:
            _maps(folder / "noise_maps.png", check)
    _doses(folder / "sd_against_dose.png", [check for check in checks if "sd_against_dose" in check.curves])


def _spectrum(path: Path, check: Check) -> None:
    curve = check.curves["spectrum"]
    figure, axes = plt.subplots(figsize=(5.0, 3.4), layout="constrained")
    shape = curve["shape"] / curve["shape"].max()
    axes.plot(curve["frequency_per_mm"], shape, color="0.6", label="f · A(f)²")
    axes.plot(curve["frequency_per_mm"], curve["ratio"] * shape, "o", markersize=4, label="measured")
    axes.set(
        xlabel="cycles per mm", ylabel="noise power (scaled)", title=f"{check.name}: {check.title}", ylim=(0, None)
    )
    axes.legend(frameon=False)
    _save(figure, path)


def _maps(path: Path, check: Check) -> None:
    maps = check.curves["maps"]
    highest = float(maps["predicted_hu"].max())
    figure, row = plt.subplots(1, 2, figsize=(8.0, 3.6), layout="constrained")
    for axes, name in zip(row, ("measured_hu", "predicted_hu"), strict=True):
        picture = axes.imshow(maps[name], vmin=0.0, vmax=highest, cmap="viridis")
        axes.set(title=name.removesuffix("_hu"), xticks=[], yticks=[])
    figure.colorbar(picture, ax=row, label="standard deviation (HU)")
    figure.suptitle(f"{check.name}: {check.title}")
    _save(figure, path)


def _doses(path: Path, checks: Sequence[Check]) -> None:
    figure, axes = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
    for check in checks:
        doses, measured, expected = zip(*sorted(check.curves["sd_against_dose"]), strict=True)
        (line,) = axes.loglog(doses, expected, linewidth=1.0)
        axes.loglog(doses, measured, "o", color=line.get_color(), markersize=4, label=check.name)
    axes.set(xlabel="dose", ylabel="standard deviation (HU)", title="points measured, lines expected")
    axes.legend(frameon=False, fontsize="small")
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=120)
    plt.close(figure)

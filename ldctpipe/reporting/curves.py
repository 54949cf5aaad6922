"""Line figures as SVG that suits light, dark and paper: no background, mid-grey text, colours that hold on all."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import pandas as pd

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

LOW_COLOUR, MODEL_COLOUR, OTHER_COLOUR = "#d08a2e", "#1d8fa6", "#a0568c"
INK = "#7c8791"
_LABELLED_PATIENTS, _LABEL_LENGTH = 10, 16
STYLE: Any = {
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10.5, "axes.labelsize": 9, "font.size": 9,
    "legend.frameon": False, "legend.fontsize": 8.5, "axes.grid": True, "grid.color": INK, "grid.alpha": 0.18,
    "axes.titlelocation": "left",
    "svg.hashsalt": "ldctpipe", "savefig.transparent": True, "lines.linewidth": 1.5,
}  # fmt: skip


def paired_lines(patients: dict[str, Any], baseline: str, method: str) -> str:
    """Return a data URI of one panel a measure, in which every patient is a line from low dose to denoised."""
    measures = (
        ("psnr_db", "PSNR (dB), higher is better"),
        ("ssim", "SSIM, higher is better"),
        ("rmse_hu", "RMSE (HU), lower is better"),
    )
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.0), layout="constrained")
        for number, (measure, title) in enumerate(measures, start=1):
            axes = figure.add_subplot(1, 3, number)
            pairs = {name: (v[baseline][measure], v[method][measure]) for name, v in patients.items() if method in v}
            _pairs(axes, {name: pair for name, pair in pairs.items() if None not in pair})
            axes.set(title=title, xlim=(-0.25, 1.5), xticks=[0, 1])
            axes.set_xticklabels(["low dose", "denoised"])
        return data_uri(figure)


def _pairs(axes: Axes, pairs: dict[str, tuple[float, float]]) -> None:
    for before, after in pairs.values():
        axes.plot([0, 1], [before, after], color=INK, linewidth=1.2, alpha=0.7, zorder=1)
    axes.scatter([0] * len(pairs), [before for before, _ in pairs.values()], color=LOW_COLOUR, s=26, zorder=2)
    axes.scatter([1] * len(pairs), [after for _, after in pairs.values()], color=MODEL_COLOUR, s=26, zorder=2)
    if len(pairs) <= _LABELLED_PATIENTS:
        _labels(axes, {name: after for name, (_, after) in pairs.items()})


def _labels(axes: Axes, heights: dict[str, float]) -> None:
    """Write each patient's name beside its point, moved up where it would lie on the one below."""
    low, high = axes.get_ylim()
    free = low
    for name, height in sorted(heights.items(), key=lambda label: label[1]):
        at = max(height, free)
        free = at + (high - low) / 16
        axes.annotate(plain(name), (1, at), xytext=(7, 0), textcoords="offset points", va="center", fontsize=8)


def along_patients(slices: pd.DataFrame, patients: Sequence[str], baseline: str, method: str) -> str:
    """Return a data URI of PSNR along the slices, one panel a patient."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.5), layout="constrained")
        shared: Axes | None = None
        for number, patient in enumerate(patients, start=1):
            shared = axes = figure.add_subplot(1, len(patients), number, sharey=shared)
            for name, label, colour in ((baseline, "low dose", LOW_COLOUR), (method, "denoised", MODEL_COLOUR)):
                rows = slices[(slices["patient"] == patient) & (slices["method"] == name)].sort_values(
                    "slice_position_mm"
                )
                axes.plot(
                    rows["slice_position_mm"], rows["psnr_db"], color=colour, label=label, marker=".", markersize=4
                )
            axes.set(title=f"Patient {plain(patient)}", xlabel="slice position (mm)")
            if number == 1:
                axes.set_ylabel("PSNR (dB)")
                axes.legend(ncols=2)
        return data_uri(figure)


def plain(name: str) -> str:
    """Return a name as matplotlib shows it: short, and without mathematics."""
    short = name if len(name) <= _LABEL_LENGTH else name[: _LABEL_LENGTH - 1] + "…"
    return short.replace("$", r"\$")  # a dollar starts mathematics in matplotlib


def data_uri(figure: Figure) -> str:
    """Return the figure as an SVG data URI; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode("ascii")

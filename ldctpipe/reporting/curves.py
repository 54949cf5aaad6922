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
from matplotlib.ticker import MaxNLocator, NullLocator

LOW_COLOUR, MODEL_COLOUR, OTHER_COLOUR = "#d08a2e", "#1d8fa6", "#a0568c"
_INK = "#7c8791"
_LABELLED_PATIENTS, _LABEL_LENGTH = 10, 16
_PANELS_ABREAST, _MOST_BINS, _MOST_COMPARED = 4, 200, 12
_STYLE: Any = {
    "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _INK, "xtick.color": _INK, "ytick.color": _INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10.5, "axes.labelsize": 9, "font.size": 9,
    "legend.frameon": False, "legend.fontsize": 8.5, "axes.grid": True, "grid.color": _INK, "grid.alpha": 0.18,
    "axes.titlelocation": "left",
    "svg.hashsalt": "ldctpipe", "savefig.transparent": True, "lines.linewidth": 1.5,
}  # fmt: skip
_PANELS = (
    ("Generator", {
        "loss_generator": "total", "loss_pixel": "L1",
        "loss_perceptual": "perceptual", "loss_adversarial": "adversarial",
    }),
    ("Critic", {"loss_critic": "loss", "wasserstein": "Wasserstein estimate", "gradient_penalty": "gradient penalty"}),
    ("Validation loss", {"validation_loss": "validation loss"}),
    ("Validation PSNR (dB)", {"validation_psnr_db": "validation PSNR"}),
)  # fmt: skip
_COLOURS = (MODEL_COLOUR, LOW_COLOUR, OTHER_COLOUR, "#6a9a3c")


def training_curves(training: pd.DataFrame) -> str | None:
    """Return a data URI of the loss curves, or None when the table has no curve with two points."""
    panels = [(title, shown) for title, names in _PANELS if (shown := _with_points(training, names))]
    if not panels:
        return None
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 2.7 * ((len(panels) + 1) // 2)), layout="constrained")
        columns = min(2, len(panels))
        for number, (title, names) in enumerate(panels, start=1):
            axes = figure.add_subplot((len(panels) + 1) // 2, columns, number)
            for (column, label), colour in zip(names.items(), _COLOURS, strict=False):
                _curve(axes, training, column, label, colour)
            axes.set(title=title, xlabel="iteration")
            if len(names) > 1:
                axes.legend(ncols=2)
        return _data_uri(figure)


def _with_points(training: pd.DataFrame, names: dict[str, str]) -> dict[str, str]:
    return {
        column: label for column, label in names.items() if column in training and training[column].notna().sum() > 1
    }


def _curve(axes: Axes, training: pd.DataFrame, column: str, label: str, colour: str) -> None:
    points = training[["iteration", column]].dropna()
    if len(points) < 60:
        axes.plot(points["iteration"], points[column], color=colour, label=label, marker=".", markersize=4)
        return
    smooth = points[column].rolling(max(5, len(points) // 40), center=True, min_periods=1).median()
    step = max(1, len(points) // 600)
    axes.plot(points["iteration"][::step], points[column][::step], color=colour, alpha=0.25, linewidth=0.8)
    axes.plot(points["iteration"][::step], smooth[::step], color=colour, label=label)


def paired_lines(patients: dict[str, Any], baseline: str, method: str) -> str:
    """Return a data URI of one panel a measure, in which every patient is a line from low dose to denoised."""
    measures = (
        ("psnr_db", "PSNR (dB), higher is better"),
        ("ssim", "SSIM, higher is better"),
        ("rmse_hu", "RMSE (HU), lower is better"),
    )
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 3.0), layout="constrained")
        for number, (measure, title) in enumerate(measures, start=1):
            axes = figure.add_subplot(1, 3, number)
            pairs = {name: (v[baseline][measure], v[method][measure]) for name, v in patients.items() if method in v}
            _pairs(axes, {name: pair for name, pair in pairs.items() if None not in pair})
            axes.set(title=title, xlim=(-0.25, 1.5), xticks=[0, 1])
            axes.set_xticklabels(["low dose", "denoised"])
        return _data_uri(figure)


def _pairs(axes: Axes, pairs: dict[str, tuple[float, float]]) -> None:
    for before, after in pairs.values():
        axes.plot([0, 1], [before, after], color=_INK, linewidth=1.2, alpha=0.7, zorder=1)
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
        axes.annotate(_plain(name), (1, at), xytext=(7, 0), textcoords="offset points", va="center", fontsize=8)


def along_patients(slices: pd.DataFrame, patients: Sequence[str], baseline: str, method: str) -> str:
    """Return a data URI of PSNR along the slices, one panel a patient."""
    with matplotlib.rc_context(_STYLE):
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
            axes.set(title=f"Patient {_plain(patient)}", xlabel="slice position (mm)")
            if number == 1:
                axes.set_ylabel("PSNR (dB)")
                axes.legend(ncols=2)
        return _data_uri(figure)


def point_curves(
    points: dict[str, list[pd.DataFrame]], column: str, label: str, *, band: float | None = None
) -> str | None:
    """Return a data URI of one panel a point of a sweep, or None when no point has a curve with two points.

    `points` holds the training logs of each point. A panel shows their mean, their range, and the means of the other
    points in grey; `band` is drawn as two lines, between which the axis is linear and beyond logarithmic.
    """
    ranges = {name: spread for name, logs in points.items() if len(spread := _over_logs(logs, column)) > 1}
    if not ranges:
        return None
    columns = min(_PANELS_ABREAST, len(ranges))
    rows = -(-len(ranges) // columns)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 0.6 + 2.1 * rows), layout="constrained")
        shared: Axes | None = None
        for number, name in enumerate(ranges):
            shared = axes = figure.add_subplot(rows, columns, number + 1, sharex=shared, sharey=shared)
            _point_panel(axes, ranges, name)
            axes.set(title=_plain(name), xlabel="iteration" if number >= len(ranges) - columns else "")
            axes.set_ylabel(label if number % columns == 0 else "")
            axes.tick_params(labelleft=number % columns == 0)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
            if band is not None:
                _draw_band(axes, band, max(spread.abs().max().max() for spread in ranges.values()))
        return _data_uri(figure)


def _over_logs(logs: list[pd.DataFrame], column: str) -> pd.DataFrame:
    """Return mean, min and max over the logs of a point by iteration, in at most `_MOST_BINS` rows."""
    values = [log.set_index("iteration")[column].dropna() for log in logs if column in log]
    if not values:
        return pd.DataFrame(columns=["mean", "min", "max"])
    over = pd.concat(values).groupby(level=0).agg(["mean", "min", "max"])
    step = -(-len(over) // _MOST_BINS)
    bins = pd.Series(range(len(over)), index=over.index) // step
    means = over.groupby(bins).agg({"mean": "mean", "min": "min", "max": "max"})
    means.index = pd.Index(pd.Series(over.index, index=over.index).groupby(bins).mean(), name="iteration")
    return means


def _point_panel(axes: Axes, ranges: dict[str, pd.DataFrame], name: str) -> None:
    if len(ranges) <= _MOST_COMPARED:
        for other in (each for each in ranges if each != name):
            axes.plot(ranges[other].index, ranges[other]["mean"], color=_INK, alpha=0.35, linewidth=0.8)
    own = ranges[name]
    axes.fill_between(own.index, own["min"], own["max"], color=MODEL_COLOUR, alpha=0.22, linewidth=0)
    axes.plot(own.index, own["mean"], color=MODEL_COLOUR, marker="." if len(own) < 30 else "", markersize=4)


def _draw_band(axes: Axes, band: float, largest: float) -> None:
    decades = [10.0**power for power in range(9) if 3 * band < 10.0**power <= largest]  # room for labels
    axes.set_yscale("symlog", linthresh=band)
    axes.set_ylim(-2 * max(band, largest), 2 * max(band, largest))
    ticks = [*(-decade for decade in reversed(decades)), -band, 0, band, *decades]
    axes.set_yticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    for edge in (-band, band):
        axes.axhline(edge, color=_INK, linestyle="--", linewidth=0.8)


def _plain(name: str) -> str:
    short = name if len(name) <= _LABEL_LENGTH else name[: _LABEL_LENGTH - 1] + "…"
    return short.replace("$", r"\$")  # a dollar starts mathematics in matplotlib


def _data_uri(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode("ascii")

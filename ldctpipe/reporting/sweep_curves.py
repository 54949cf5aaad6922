"""Curves of the points of a sweep: one panel a point, over its repeats."""

from __future__ import annotations

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from ldctpipe.reporting.curves import INK, MODEL_COLOUR, STYLE, data_uri, plain

_PANELS_ABREAST, _MOST_BINS, _MOST_COMPARED = 4, 200, 12


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
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 0.6 + 2.1 * rows), layout="constrained")
        shared: Axes | None = None
        for number, name in enumerate(ranges):
            shared = axes = figure.add_subplot(rows, columns, number + 1, sharex=shared, sharey=shared)
            _point_panel(axes, ranges, name)
            axes.set(title=plain(name), xlabel="iteration" if number >= len(ranges) - columns else "")
            axes.set_ylabel(label if number % columns == 0 else "")
            axes.tick_params(labelleft=number % columns == 0)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
            if band is not None:
                _draw_band(axes, band, max(spread.abs().max().max() for spread in ranges.values()))
        return data_uri(figure)


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
            axes.plot(ranges[other].index, ranges[other]["mean"], color=INK, alpha=0.35, linewidth=0.8)
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
        axes.axhline(edge, color=INK, linestyle="--", linewidth=0.8)

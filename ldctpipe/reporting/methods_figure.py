"""Methods side by side, each with the same region magnified, as in figures 8 and 9 of the flagship paper."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt

matplotlib.use("Agg")
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ldctpipe.reporting.colours import grey
from ldctpipe.reporting.figure_file import save_figure
from ldctpipe.reporting.pictures import Box

_ACROSS, _PANEL_INCHES = 6, 2.4
_TITLE_CHARACTERS, _CAPTION_CHARACTERS = 34, 40  # of a line, in the caption for each panel above it
_LINE_INCHES = 0.17
_MARK = "#ffd23f"
_STYLE: Any = {
    "font.size": 8, "text.parse_math": False, "axes.titlesize": 8, "axes.titlelocation": "left",
    "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False, "axes.spines.bottom": False,
}  # fmt: skip


@dataclass(frozen=True)
class MethodPanel:
    """One image in HU (rows, columns) with its title; `note` stands in the second line."""

    title: str
    hu: npt.NDArray[Any]
    note: str = ""


def write_methods_figure(
    out: Path, panels: Sequence[MethodPanel], shown: Box, region: Box, window_hu: tuple[float, float], caption: str
) -> None:
    """Write the panels to `out`, a .png or .svg file, at most six in a row, and below each its `region`, magnified.

    Images are cut to `shown`, widened so that the region lies inside, and the region is marked in them. All have the
    same window. The same input gives the same bytes.
    """
    shown = _around(shown, region)
    down = -(-len(panels) // _ACROSS)
    across = -(-len(panels) // down)
    written = "\n".join(textwrap.wrap(caption, _CAPTION_CHARACTERS * across))
    heights = (_PANEL_INCHES * shown.height / shown.width, _PANEL_INCHES)
    lines = down * max(_title(panel).count("\n") + 2 for panel in panels) + written.count("\n") + 1
    size = (across * _PANEL_INCHES, down * sum(heights) + lines * _LINE_INCHES)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(2 * down, across, squeeze=False, height_ratios=heights * down)
        for place in axes.ravel():
            place.set_axis_off()
        for number, panel in enumerate(panels):
            row, column = divmod(number, across)
            _draw(axes[2 * row, column], panel.hu, shown, window_hu)
            axes[2 * row, column].set_title(_title(panel))
            _mark(axes[2 * row, column], shown, region)
            _draw(axes[2 * row + 1, column], panel.hu, region, window_hu)
        figure.supxlabel(written, x=0.01, ha="left", fontsize=8)
        save_figure(figure, out)


def _title(panel: MethodPanel) -> str:
    return "\n".join(filter(None, [*textwrap.wrap(panel.title, _TITLE_CHARACTERS), panel.note]))


def _draw(axes: Axes, hu: npt.NDArray[Any], box: Box, window_hu: tuple[float, float]) -> None:
    axes.imshow(grey(hu[box.index], window_hu), cmap="gray", vmin=0, vmax=255, interpolation="none")


def _mark(axes: Axes, shown: Box, region: Box) -> None:
    corner = (region.left - shown.left - 0.5, region.top - shown.top - 0.5)
    axes.add_patch(Rectangle(corner, region.width, region.height, fill=False, edgecolor=_MARK, linewidth=0.8))


def _around(shown: Box, region: Box) -> Box:
    """Return the smallest box that holds both."""
    ends = [(box.top, box.left, box.top + box.height, box.left + box.width) for box in (shown, region)]
    top, left = np.min([end[:2] for end in ends], axis=0).tolist()
    bottom, right = np.max([end[2:] for end in ends], axis=0).tolist()
    return Box(top, left, bottom - top, right - left)

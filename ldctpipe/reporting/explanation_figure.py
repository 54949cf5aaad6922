"""The picture of `ldctpipe explain`: input, attention maps, Grad-CAM and result of one slice, as in figure 10."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt

matplotlib.use("Agg")
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from ldctpipe.files import new_file
from ldctpipe.reporting.colours import Pixels, grey, heat, heat_over
from ldctpipe.reporting.pictures import body_box

_ACROSS, _PANEL_INCHES, _DPI = 3, 3.6, 150
_CAPTION_CHARACTERS = 160
_STYLE: Any = {
    "font.size": 9.5, "text.parse_math": False,
    "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False, "axes.spines.bottom": False,
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One picture: an image in HU, or a map in [0, 1] where `is_map`, both (rows, columns); `note` stands below."""

    title: str
    values: npt.NDArray[Any]
    note: str = ""
    is_map: bool = False


def write_explanation_figure(
    path: Path, heading: str, panels: Sequence[Panel], measured: npt.NDArray[np.bool_], caption: str
) -> None:
    """Write the panels as PNG, three in a row, cut to the body of the first, which must be an image in HU.

    Images are shown in the soft-tissue window; maps in warm colours over the first image, and not where nothing was
    `measured`. The same input gives the same bytes.
    """
    box = body_box(panels[0].values)
    background, within = grey(panels[0].values[box.index]), measured[box.index]
    down = -(-len(panels) // _ACROSS)
    panel_height = _PANEL_INCHES * box.height / box.width + 0.45
    with matplotlib.rc_context(_STYLE):
        size = (_ACROSS * _PANEL_INCHES + 0.9, down * panel_height + 1.1)
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        axes = np.atleast_1d(figure.subplots(down, _ACROSS)).ravel()
        for place in axes:
            place.set(xticks=[], yticks=[])
        for letter, place, panel in zip("abcdefghi", axes, panels, strict=False):
            place.imshow(_pixels(panel, box.index, background, within), interpolation="none")
            place.set_title(f"{letter}  {panel.title}")
            place.set_xlabel(panel.note, loc="left")
        _scale_of_maps(figure, list(axes))
        figure.suptitle(heading, x=0.01, ha="left", fontsize=13)
        figure.supxlabel("\n".join(textwrap.wrap(caption, _CAPTION_CHARACTERS)), x=0.01, ha="left", fontsize=9)
        with new_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})


def _pixels(
    panel: Panel, index: tuple[slice, slice], background: Pixels, within: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    if panel.is_map:
        return heat_over(background, panel.values[index], within)
    return grey(panel.values[index])[..., np.newaxis].repeat(3, axis=-1)


def _scale_of_maps(figure: Figure, axes: list[Any]) -> None:
    colours = ListedColormap(heat(np.linspace(0, 1, 256)) / 255)
    scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, 1), colours)
    bar = figure.colorbar(scale, ax=axes, shrink=0.6, aspect=30, pad=0.01, ticks=[0, 1])
    bar.ax.set_yticklabels(["lowest\nof map", "highest\nof map"])
    bar.outline.set_visible(False)  # type: ignore[operator]

"""A figure as a file for a paper: PNG or SVG by its name."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from ldctpipe.errors import UsageError
from ldctpipe.files import new_file, refuse_existing

_DPI = 200
_STARTS = (b"\x89png", b"<?xml", b"<svg")
_METADATA = {".png": {"Software": None}, ".svg": {"Date": None}}  # what would differ from run to run


def require_figure_name(path: Path) -> None:
    """Raise `UsageError` where `path` is not named like a figure that can be written."""
    if path.suffix.lower() not in _METADATA:
        raise UsageError(path, "is not the name of a figure that can be written", "end it in .png or .svg")


def refuse_existing_figure(path: Path, *, overwrite: bool) -> None:
    """Raise if a figure can't be written to `path` without losing an existing file, as `refuse_existing` does."""
    require_figure_name(path)
    refuse_existing(path, overwrite=overwrite, starts=_STARTS)


def save_figure(figure: Figure, path: Path) -> None:
    """Write `figure` to `path` atomically, on white paper; the same figure gives the same bytes."""
    kind = path.suffix.lower()
    with new_file(path) as temporary:
        figure.savefig(
            temporary,
            format=kind.removeprefix("."),
            dpi=_DPI,
            facecolor="white",
            transparent=False,
            metadata=_METADATA[kind],
        )

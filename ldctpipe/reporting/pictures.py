"""Slices as pictures: the difference's colours, and the region that is worth magnifying."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from ldctpipe.reporting.colours import SOFT_WINDOW_HU

DIFFERENCE_HU = 100.0
DIFFERENCE_COLOURS = "RdBu_r"

_BODY_HU = -300
_MARGIN_PIXELS = 12
_REGION_FRACTION = 0.24


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels: first row and column, and size."""

    top: int
    left: int
    height: int
    width: int

    @property
    def index(self) -> tuple[slice, slice]:
        """The rectangle as an index of the last two axes of an image."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def body_box(hu: npt.NDArray[Any]) -> Box:
    """Return the rectangle around the body in a slice (rows, columns), with a margin; without a body the slice."""
    rows, columns = np.nonzero(body_mask(hu))
    if not len(rows):
        return Box(0, 0, *hu.shape)
    top, left = max(0, rows.min() - _MARGIN_PIXELS), max(0, columns.min() - _MARGIN_PIXELS)
    bottom = min(hu.shape[0], rows.max() + 1 + _MARGIN_PIXELS)
    right = min(hu.shape[1], columns.max() + 1 + _MARGIN_PIXELS)
    return Box(int(top), int(left), int(bottom - top), int(right - left))


def body_mask(hu: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return where the largest body in a slice (rows, columns) lies, its air included; nowhere without a body."""
    dense = ndimage.binary_opening(hu > _BODY_HU, iterations=2)
    labels, count = ndimage.label(dense)
    if not count:
        return np.zeros(hu.shape, dtype=bool)
    largest = 1 + int(np.argmax(ndimage.sum_labels(dense, labels, range(1, count + 1))))
    return np.asarray(ndimage.binary_fill_holes(labels == largest))


def structured_region(hu: npt.NDArray[np.int16]) -> Box:
    """Return the square inside the body of a full-dose slice (rows, columns) that has the most soft-tissue structure.

    Edges of bone, lung and skin don't count, and the depth below the skin does: organs and vessels are wanted.
    """
    side = max(16, round(_REGION_FRACTION * min(hu.shape)))
    body = body_mask(hu)
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), 1.5)
    soft = ndimage.binary_erosion((smooth > SOFT_WINDOW_HU[0]) & (smooth < SOFT_WINDOW_HU[1]) & body, iterations=4)
    depth = (ndimage.distance_transform_edt(body) / side).clip(max=1)  # the wall of the trunk has edges, but no organs
    score = ndimage.uniform_filter(np.hypot(*np.gradient(smooth)) * soft, side, mode="constant") * depth**2
    row, column = np.unravel_index(int(score.argmax()), score.shape)
    top = int(np.clip(row - side // 2, 0, hu.shape[0] - side))
    left = int(np.clip(column - side // 2, 0, hu.shape[1] - side))
    return Box(top, left, side, side)


def coloured_difference(image_hu: npt.NDArray[np.int16], reference_hu: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Return RGB of image minus reference from −100 HU (blue) over 0 (white) to +100 HU (red)."""
    difference = image_hu.astype(np.float32) - reference_hu
    return np.asarray(_colours()(np.clip(difference / (2 * DIFFERENCE_HU) + 0.5, 0, 1), bytes=True)[..., :3])


def difference_stops(count: int = 9) -> list[tuple[float, str]]:
    """Return (position in [0, 1], colour) along the scale of the difference, for its legend."""
    return [(float(at), matplotlib.colors.to_hex(_colours()(at))) for at in np.linspace(0, 1, count)]


def _colours() -> matplotlib.colors.Colormap:
    return matplotlib.colormaps[DIFFERENCE_COLOURS]


def as_data_uri(pixels: npt.NDArray[np.uint8], *, lossless: bool = True) -> str:
    """Return the image as a WebP data URI."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", lossless=lossless, quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")

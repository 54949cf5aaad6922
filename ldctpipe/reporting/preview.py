"""A slice as it comes out of a training now and then: images side by side, maps of attention below them.

Drawn by Pillow in some hundredths of a second, because training waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ldctpipe.files import new_file
from ldctpipe.reporting.colours import SOFT_WINDOW_HU, Pixels, grey, heat_over

Titled = tuple[str, npt.NDArray[Any]]

_LEAST_SIDE = 256  # smaller slices are enlarged by whole numbers, so that titles fit
_TITLE_HEIGHT, _GAP, _FONT_SIZE = 24, 4, 15
_BACKGROUND, _INK = 255, 40


def preview_picture(
    panels: Sequence[Titled], window_hu: tuple[float, float] = SOFT_WINDOW_HU, maps: Sequence[Titled] = ()
) -> Pixels:
    """Return RGB (height, width, 3) of titled images in HU, all (rows, columns), in one row from left to right.

    `maps` are titled arrays in [0, 1] of the same shape and make a second row, in warm colours over the first image.
    """
    images = [(title, grey(hu, window_hu)) for title, hu in panels]
    rows = [[(title, pixels[..., np.newaxis].repeat(3, axis=-1)) for title, pixels in images]]
    if maps:
        rows.append([(title, heat_over(images[0][1], values)) for title, values in maps])
    height, width = images[0][1].shape
    times = max(1, -(-_LEAST_SIDE // min(height, width)))
    across = max(len(row) for row in rows)
    step_down, step_right = height * times + _TITLE_HEIGHT + _GAP, width * times + _GAP
    canvas = Image.new("RGB", (across * step_right + _GAP, len(rows) * step_down + _GAP), (_BACKGROUND,) * 3)
    for down, row in enumerate(rows):
        for right, (title, pixels) in enumerate(row):
            _put(canvas, title, pixels, times, (_GAP + right * step_right, _GAP + down * step_down))
    return np.asarray(canvas)


def write_preview(
    path: Path,
    panels: Sequence[Titled],
    window_hu: tuple[float, float] = SOFT_WINDOW_HU,
    maps: Sequence[Titled] = (),
) -> None:
    """Write `preview_picture` to `path` as PNG, atomically."""
    picture = Image.fromarray(preview_picture(panels, window_hu, maps))
    with new_file(path) as temporary:
        picture.save(temporary, "PNG", compress_level=4)


def _put(canvas: Image.Image, title: str, pixels: Pixels, times: int, corner: tuple[int, int]) -> None:
    left, top = corner
    font = ImageFont.load_default(_FONT_SIZE)
    written = title.replace("−", "-")  # Pillow's font has no minus sign
    ImageDraw.Draw(canvas).text((left + 2, top + 2), written, fill=(_INK,) * 3, font=font)
    enlarged = pixels.repeat(times, axis=0).repeat(times, axis=1)
    canvas.paste(Image.fromarray(enlarged), (left, top + _TITLE_HEIGHT))

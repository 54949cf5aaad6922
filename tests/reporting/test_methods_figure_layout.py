"""The picture of methods side by side: how panels are laid out, cut and marked."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ldctpipe.reporting.methods_figure import MethodPanel, write_methods_figure
from ldctpipe.reporting.pictures import Box

WINDOW = (0.0, 255.0)


def panels(count: int) -> list[MethodPanel]:
    ramp = np.arange(64 * 64).reshape(64, 64) % 256
    return [MethodPanel(f"Method {number}", ramp, "note") for number in range(count)]


@pytest.mark.parametrize(("count", "across", "down"), [(2, 2, 1), (6, 6, 1), (7, 4, 2), (13, 5, 3)])
def test_rows_are_as_even_as_can_be(tmp_path, count, across, down):
    write_methods_figure(tmp_path / "f.png", panels(count), Box(0, 0, 64, 64), Box(8, 8, 16, 16), WINDOW, "caption")

    width, height = Image.open(tmp_path / "f.png").size
    assert width == pytest.approx(across * 2.4 * 200, abs=2)
    assert 2 * down * 2.4 * 200 < height < 2 * down * 2.4 * 200 * 1.2


def test_the_region_is_magnified_without_smoothing(tmp_path):
    hu = np.zeros((64, 64))
    hu[40:48, 40:48] = 255  # all of the region's lower right quarter

    write_methods_figure(
        tmp_path / "f.png", [MethodPanel("One", hu)], Box(0, 0, 64, 64), Box(32, 32, 16, 16), WINDOW, "caption"
    )

    picture = np.asarray(Image.open(tmp_path / "f.png").convert("L"))
    magnified = picture[picture.shape[0] // 2 : int(0.9 * picture.shape[0]), 20:-20]
    assert set(np.unique(magnified)) <= {0, 255}
    white = (magnified == 255)[:, magnified.shape[1] // 2 + 20 :].mean()
    assert white > 0.4


def test_a_region_outside_of_what_is_shown_widens_it(tmp_path):
    for name, region in (("inside", Box(20, 20, 8, 8)), ("outside", Box(20, 48, 8, 8))):
        write_methods_figure(tmp_path / f"{name}.png", panels(1), Box(16, 16, 32, 32), region, WINDOW, "caption")

    inside, outside = (Image.open(tmp_path / f"{name}.png").size for name in ("inside", "outside"))
    assert outside[1] < inside[1]  # wider than high: 32 × 40 pixels

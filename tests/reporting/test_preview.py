"""Colours of maps, and the picture of a training in progress."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from ldctpipe.reporting.colours import grey, heat, heat_over
from ldctpipe.reporting.preview import preview_picture, write_preview

WINDOW_HU = (-160.0, 240.0)


def slice_hu(value: int, side: int = 300) -> np.ndarray:
    return np.full((side, side), value, dtype=np.int16)


def test_the_warm_scale_is_matplotlibs_inferno():
    at = np.linspace(0, 1, 256)

    ours, theirs = heat(at).astype(int), matplotlib.colormaps["inferno"](at, bytes=True)[:, :3].astype(int)

    assert np.abs(ours - theirs).max() <= 12  # ten straight pieces of a smooth curve
    brightness = ours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > -1).all()  # but for the rounding to 8 bits


def test_a_map_leaves_bare_what_was_not_measured():
    background, measured = np.full((2, 2), 100, dtype=np.uint8), np.array([[True, False], [True, True]])

    mixed = heat_over(background, np.array([[0.0, 1.0], [0.5, 1.0]]), measured)

    assert mixed[0, 1].tolist() == [100, 100, 100]
    assert mixed[1, 1, 0] > mixed[1, 0, 0] > mixed[0, 0, 0]


def test_images_stand_side_by_side_in_their_window():
    picture = preview_picture([("low", slice_hu(-160)), ("now", slice_hu(41)), ("full", slice_hu(240))], WINDOW_HU)

    middle = picture[24 + 150, [150, 450, 750]]
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert middle.tolist() == [[0] * 3, [128] * 3, [255] * 3]
    assert (picture[:24] < 200).any()  # a title is written


def test_maps_make_a_second_row_over_the_first_image():
    hu = slice_hu(40)
    values = np.linspace(0, 1, 300) * np.ones((300, 1))

    one = preview_picture([("low", hu), ("now", hu)], WINDOW_HU)
    two = preview_picture([("low", hu), ("now", hu)], WINDOW_HU, [("spatial", values), ("Grad-CAM", values.T)])

    assert two.shape[0] > 1.9 * one.shape[0]
    assert two.shape[1] == one.shape[1]
    below = two[one.shape[0] + 24 : -4, 4:304]
    assert np.array_equal(below, heat_over(grey(hu, WINDOW_HU), values))


@pytest.mark.parametrize("shape", [(64, 64), (100, 80), (512, 512)])
def test_small_slices_are_enlarged_by_whole_numbers(shape):
    hu = np.random.default_rng(0).integers(-160, 240, shape, dtype=np.int16)

    picture = preview_picture([("low", hu)], WINDOW_HU)

    times = (picture.shape[1] - 8) // shape[1]
    shown = picture[28 : 28 + times * shape[0] : times, 4 : 4 + times * shape[1] : times, 0]
    assert times * min(shape) >= 256
    assert np.array_equal(shown, grey(hu, WINDOW_HU))


def test_the_file_holds_the_picture(tmp_path):
    panels = [("low − dose", slice_hu(0)), ("full", slice_hu(100))]

    write_preview(tmp_path / "previews" / "iteration-0000100.png", panels, WINDOW_HU)

    with Image.open(tmp_path / "previews" / "iteration-0000100.png") as written:
        assert np.array_equal(np.asarray(written), preview_picture(panels, WINDOW_HU))
    assert len(list((tmp_path / "previews").iterdir())) == 1


def test_training_loads_nothing_heavy_for_it():
    program = "import sys, ldctpipe.reporting.preview; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"matplotlib", "scipy", "pandas", "torch"} & set(loaded)

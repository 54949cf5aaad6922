"""Windows, boxes and the viewer's packing."""

from __future__ import annotations

import base64
import zlib

import numpy as np

from ldctpipe.metrics.samples import Sample
from ldctpipe.reporting.colours import grey
from ldctpipe.reporting.pictures import body_box, coloured_difference, structured_region
from ldctpipe.reporting.slices import by_turns
from ldctpipe.reporting.viewer import pack


def test_grey_is_the_window():
    hu = np.array([[-2000, -160, 41, 240, 3000]], dtype=np.int16)
    np.testing.assert_array_equal(grey(hu), [[0, 0, 128, 255, 255]])


def test_the_difference_is_white_at_zero_red_above_blue_below():
    image = np.array([[0, 100, -100]], dtype=np.int16)
    zero, red, blue = coloured_difference(image, np.zeros_like(image))[0].astype(int)
    assert zero.min() > 240
    assert red[0] > red[2] + 50 and blue[2] > blue[0] + 50


def test_the_box_holds_the_body_and_not_the_table():
    hu = np.full((100, 120), -1000, dtype=np.int16)
    hu[30:70, 40:90] = 40
    hu[95:98, 10:110] = 100  # table
    box = body_box(hu)
    assert (box.top, box.left, box.height, box.width) == (18, 28, 64, 74)


def test_the_region_is_where_the_organs_have_structure():
    hu = np.full((200, 200), -1000, dtype=np.int16)
    hu[20:180, 20:180] = 40
    hu[60:100:6, 110:150] = 110  # vessels
    hu[140:170, 40:60] = 800  # bone has stronger edges
    region = structured_region(hu)
    assert abs(region.top + region.height / 2 - 80) < 20
    assert abs(region.left + region.width / 2 - 130) < 20


def test_packed_images_unpack_to_the_same_hu():
    hu = np.random.default_rng(1).integers(-1500, 4000, (7, 5)).astype(np.int16)
    planes = np.frombuffer(zlib.decompress(base64.b64decode(pack(hu))), dtype=np.uint8).astype(int)
    zigzag = planes[:35] + 256 * planes[35:]
    difference = np.where(zigzag % 2, -(zigzag + 1) // 2, zigzag // 2).reshape(7, 5)
    np.testing.assert_array_equal(difference.cumsum(axis=1), hu.clip(-1100, 3071))


def test_patients_take_turns_from_their_middle():
    hu = np.zeros((3, 4, 4), dtype=np.int16)
    samples = [Sample(patient, "s", position, (1, 1), hu) for patient in "ab" for position in (0.0, 3.0, 6.0)]
    order = [(sample.patient, sample.position_mm) for sample in by_turns(samples)]
    assert order[:2] == [("a", 3.0), ("b", 3.0)]
    assert len(set(order)) == 6
    assert list(by_turns([])) == []

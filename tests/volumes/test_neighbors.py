"""Which slices are neighbors: not across missing slices, jumps, duplicates or much larger distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldctpipe.volumes.neighbors import around, neighbors, unbroken_stacks, usual_step_mm


@pytest.mark.parametrize(
    ("positions_mm", "expected"),
    [
        ([], []),
        ([7], [(0, 1)]),
        ([0, 3, 6, 9], [(0, 4)]),
        ([9, 6, 3, 0], [(0, 4)]),
        ([0, 3, 6, 15, 18], [(0, 3), (3, 5)]),  # two slices are missing
        ([0, 3, 9], [(0, 2), (2, 3)]),  # one of four is missing
        ([0, 3, 6, 2, 5, 8], [(0, 3), (3, 6)]),  # a jump back
        ([0, 3, 3, 6, 9], [(0, 2), (2, 5)]),  # a duplicate
        ([0, 3, 3.01, 6, 9], [(0, 2), (2, 5)]),
        ([0, 1, 3, 4, 6, 7], [(0, 2), (2, 4), (4, 6)]),  # every third slice is missing
        ([0, 2.9, 6.1, 8.8, 12.2], [(0, 5)]),  # rounded positions
        ([0, 2, 5, 7, 10], [(0, 5)]),  # uneven by a fifth
        ([5, 5, 5], [(0, 1), (1, 2), (2, 3)]),
        ([0, 3, math.nan, 9, 12, 15], [(0, 2), (2, 3), (3, 6)]),
    ],
)
def test_a_stack_ends_where_slices_are_no_neighbors(positions_mm, expected):
    assert [(stack.start, stack.stop) for stack in unbroken_stacks(positions_mm)] == expected


def test_ends_of_stacks_repeat():
    stacks = [range(0, 3), range(3, 5), range(5, 6)]

    assert neighbors(stacks, 2).tolist() == [
        [0, 0, 0, 1, 2],
        [0, 0, 1, 2, 2],
        [0, 1, 2, 2, 2],
        [3, 3, 3, 4, 4],
        [3, 3, 4, 4, 4],
        [5, 5, 5, 5, 5],
    ]


def test_without_context_a_slice_is_alone():
    assert neighbors(unbroken_stacks([0, 3, 9, 12]), 0).tolist() == [[0], [1], [2], [3]]


def test_a_slab_is_the_union_of_its_windows():
    stack, context = range(4, 12), 2

    windows = neighbors([range(4), stack], context)[6:9]

    assert around(range(6, 9), stack, context).tolist() == [4, 5, 6, 7, 8, 9, 10]
    assert sorted(set(windows.ravel().tolist())) == [4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize(
    ("positions_mm", "expected"), [([0, 3, 6, 30], 3), ([0, 3, 9], 3), ([9, 6, 3], -3), ([0, 0, 2], 2)]
)
def test_the_usual_step_is_not_that_of_a_gap(positions_mm, expected):
    assert usual_step_mm(positions_mm) == expected


def test_one_slice_has_no_step():
    assert math.isnan(usual_step_mm([4.0]))


@given(st.lists(st.floats(-1e4, 1e4), max_size=40), st.integers(0, 4))
def test_every_slice_is_in_one_stack_and_sees_only_that(positions_mm, context):
    stacks = unbroken_stacks(positions_mm)

    windows = neighbors(stacks, context)

    assert [number for stack in stacks for number in stack] == list(range(len(positions_mm)))
    assert windows.shape == (len(positions_mm), 2 * context + 1)
    assert windows[:, context].tolist() == list(range(len(positions_mm)))
    for stack in stacks:
        assert np.isin(windows[stack.start : stack.stop], list(stack)).all()

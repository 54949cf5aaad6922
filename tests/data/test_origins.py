"""Patch origins: the body and nothing but the body."""

from __future__ import annotations

import numpy as np

from ldctpipe.data.origins import STRIDE, body_origins


def test_listed_windows_are_those_with_body():
    hu = np.full((160, 160), -1000, dtype=np.int16)
    hu[100:140, 90:150] = 40

    listed = {tuple(origin) for origin in body_origins(hu, 64).tolist()}

    for row in range(0, 97, STRIDE):
        for column in range(0, 97, STRIDE):
            share = (hu[row : row + 64, column : column + 64] > -500).mean()
            assert ((row, column) in listed) == (share >= 0.1)


def test_air_has_none():
    assert body_origins(np.full((128, 128), -1000, dtype=np.int16), 64).shape == (0, 2)

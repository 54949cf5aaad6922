"""HU of a few slices in a form that the page's viewer unpacks: exact, and a third of their size."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from ldctpipe.metrics.samples import ROLES, Sample
from ldctpipe.reporting.pictures import Box

_LEAST_HU, _MOST_HU = -1100, 3071


def packed_sample(sample: Sample, box: Box) -> dict[str, Any]:
    """Return the part of a sample inside `box` as JSON types, each image packed by `pack`."""
    images = {role: pack(sample.hu[number][box.index]) for number, role in enumerate(ROLES)}
    label = f"{sample.patient}, {sample.position_mm:.1f} mm"
    return {"label": label, "rows": box.height, "columns": box.width, "images": images}


def pack(hu: npt.NDArray[np.int16]) -> str:
    """Return an image (rows, columns) in HU, clipped to [−1100, 3071], as base64 text.

    Each pixel becomes its difference from the left neighbour (the first of a row: from 0), zigzag-coded so that small
    differences of either sign leave the high byte zero; all low bytes, then all high bytes, then zlib.
    """
    clipped = hu.clip(_LEAST_HU, _MOST_HU).astype(np.int32)
    difference = np.diff(clipped, axis=1, prepend=0)
    zigzag = ((difference << 1) ^ (difference >> 31)).astype("<u2")
    planes = zigzag.reshape(-1, 1).view(np.uint8)
    return base64.b64encode(zlib.compress(planes.T.tobytes(), 9)).decode("ascii")

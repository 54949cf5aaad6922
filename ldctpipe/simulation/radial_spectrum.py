"""Square windows to spectra by frequency: the taper, and the rings over which a 2-D spectrum is averaged."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

ROUNDING_HU2 = 1.0 / 12.0
"""What rounding to whole HU adds to the power of every pixel."""

WINDOW_OVERLAP = 1.6
"""Factor on standard errors over windows that overlap by half: they tell less than their number says."""

_Values = npt.NDArray[np.float64]


def hann_taper(side: int) -> _Values:
    """Return the Hann taper of a square window, (side, side)."""
    line = np.hanning(side + 2)[1:-1]
    return np.outer(line, line)


def radial_rings(side: int, pixel_mm: float, numbers: Iterable[int]) -> tuple[_Values, list[npt.NDArray[np.bool_]]]:
    """Return the moduli in 1/mm of the frequencies of a window, (side, side), and which of them make up each ring.

    Ring n holds the frequencies whose modulus rounds to n steps of the window.
    """
    line = np.fft.fftfreq(side, pixel_mm)
    radius = np.hypot(line[:, None], line[None])
    ring = np.rint(radius * side * pixel_mm).astype(int)
    return radius, [ring == number for number in numbers]

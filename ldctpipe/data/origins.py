"""Where training patches may lie: windows that touch the body, none of pure air."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ldctpipe.volumes.volume import HuArray

STRIDE = 8  # pixels between listed origins; the sampler moves each by up to STRIDE − 1 pixels
BODY_ABOVE_HU = -500
_LEAST_BODY_SHARE = 0.1


def body_origins(hu: HuArray, patch_size: int) -> npt.NDArray[np.int16]:
    """Return the (row, column) of upper left corners, every `STRIDE` pixels, whose window is a tenth body or more.

    `hu` is one slice, (rows, columns). A slice without body gives an empty array of shape (0, 2).
    """
    share = _window_means(hu > BODY_ABOVE_HU, patch_size)
    rows, columns = np.nonzero(share[::STRIDE, ::STRIDE] >= _LEAST_BODY_SHARE)
    return (np.stack((rows, columns), axis=1) * STRIDE).astype(np.int16)


def _window_means(mask: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.float64]:
    """Return the mean of every size × size window that lies inside, by its upper left corner."""
    table = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    table[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    sums = table[size:, size:] - table[:-size, size:] - table[size:, :-size] + table[:-size, :-size]
    return sums / size**2

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
    share = _window_sums(hu > BODY_ABOVE_HU, patch_size) / patch_size**2
    rows, columns = np.nonzero(share >= _LEAST_BODY_SHARE)
    return (np.stack((rows, columns), axis=1) * STRIDE).astype(np.int16)


def _window_sums(mask: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.int32]:
    """Return the sum of every size × size window that lies inside and starts at a multiple of `STRIDE`."""
    across = np.zeros((mask.shape[0], mask.shape[1] + 1), dtype=np.int32)
    np.cumsum(mask, axis=1, out=across[:, 1:])
    # Of the columns only those where windows start are summed further, which are few.
    across = across[:, size::STRIDE] - across[:, : max(across.shape[1] - size, 0) : STRIDE]
    down = np.zeros((mask.shape[0] + 1, across.shape[1]), dtype=np.int32)
    np.cumsum(across, axis=0, out=down[1:])
    sums: npt.NDArray[np.int32] = down[size::STRIDE] - down[: max(len(down) - size, 0) : STRIDE]
    return sums

"""How far a denoiser's result depends on where the pixel grid lies: strides of a network draw a mesh of their size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ldctpipe.metrics.image_quality import Mask

Image = npt.NDArray[np.floating] | npt.NDArray[np.int16]
_STEPS = ((1, 0), (0, 1))  # one row down, one column to the right


def shift_change_hu(denoise: Callable[[Image], Image], image_hu: Image, mask: Mask) -> float:
    """Return the rms of D(shift x) − shift(D x) over `mask` in HU, for shifts by one row and by one column.

    `image_hu` and what `denoise` makes of it have shape (rows, columns) or (slices, rows, columns), `mask` has that of
    a result. Pixels that leave the image at one side return at the other, where `mask` should be False. A filter that
    treats all pixels alike gives 0.
    """
    plain = denoise(image_hu)
    squares = [
        np.square(denoise(_shifted(image_hu, step)).astype(np.float64) - _shifted(plain, step))[_shifted(mask, step)]
        for step in _STEPS
    ]
    return float(np.sqrt(np.mean(squares)))


def _shifted(image: Image | Mask, step: tuple[int, int]) -> npt.NDArray[np.float64]:
    return np.roll(image, step, axis=(-2, -1))

"""How a slice is turned for people to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def radiological(image: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Return axial images (…, rows, columns) as seen from the feet: anterior up, the patient's right on the left.

    `affine` is that of `Volume`. It turns what NIfTI stores upside down or mirrored; images whose rows and columns run
    otherwise (sagittal, coronal, turned by 90°) come back as they are. The result is a view.
    """
    along_columns, along_rows = affine[:3, 0], affine[:3, 1]  # a step to the right, a step down, in RAS
    if np.abs(along_columns).argmax() != 0 or np.abs(along_rows).argmax() != 1:
        return image
    image = image[..., ::-1] if along_columns[0] > 0 else image
    return image[..., ::-1, :] if along_rows[1] > 0 else image

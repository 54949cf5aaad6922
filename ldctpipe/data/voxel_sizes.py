"""The sizes of the voxels in a training store, for the card of what is trained on it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ldctpipe.volumes.neighbors import usual_step_mm


def voxel_sizes(slices: pd.DataFrame) -> dict[str, list[float]]:
    """Return the least and the largest slice_spacing_mm, pixel_mm and thickness_mm over the series of `slices`.

    What no series tells is left out: the spacing of single slices, a thickness that no header states, pixels in stores
    of earlier versions.
    """
    series = slices.groupby(["patient", "series"], sort=False)
    found = {"slice_spacing_mm": np.array([abs(usual_step_mm(each)) for _, each in series["position_mm"]])}
    found |= {name: slices[name].to_numpy(dtype=np.float64) for name in ("pixel_mm", "thickness_mm") if name in slices}
    return {name: ends for name, values in found.items() if (ends := _ends(values))}


def _ends(values: npt.NDArray[np.float64]) -> list[float]:
    sizes = values[np.isfinite(values) & (values > 0)]
    return [round(float(sizes.min()), 4), round(float(sizes.max()), 4)] if len(sizes) else []

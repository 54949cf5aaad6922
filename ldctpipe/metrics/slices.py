"""One row a slice and method: the table that every other figure comes from."""

from __future__ import annotations

from typing import Any

import numpy as np

from ldctpipe.metrics.image_quality import Mask, image_quality, measured_mask
from ldctpipe.metrics.matching import MatchedSeries
from ldctpipe.metrics.protocols import Protocol
from ldctpipe.metrics.tissue import SOFT_TISSUE, TISSUES, bias_hu, noise_sd_hu, tissue_masks
from ldctpipe.volumes.volume import HuArray

BASELINE = "low_dose"
MEASURES = (
    "psnr_db",
    "ssim",
    "rmse_hu",
    SOFT_TISSUE.measure,
    *(tissue.measure for tissue in TISSUES if tissue is not SOFT_TISSUE),
    "noise_sd_hu",
    "full_dose_noise_sd_hu",
)
COLUMNS = ("method", "patient", "series", "slice_position_mm", *MEASURES, "protocol")


def slice_rows(
    series: MatchedSeries, index: int, patient: str, method: str, protocol: Protocol
) -> list[dict[str, Any]]:
    """Return the rows of `COLUMNS` for the low dose and the denoised image of one matched slice."""
    images = series.images(index)
    full_dose = images["full_dose"]
    padding = series.padding(index)
    mask = measured_mask(full_dose, padding, protocol)
    tissues = tissue_masks(full_dose, np.ones(full_dose.shape, dtype=bool) if padding is None else ~padding)
    pixel_mm = series.full_dose.spacing_mm[1]
    shared = {
        "patient": patient,
        "series": series.full_dose.key,
        "slice_position_mm": round(float(series.full_dose.positions_mm[series.full_index[index]]), 3),
        "full_dose_noise_sd_hu": noise_sd_hu(full_dose, tissues[SOFT_TISSUE.name], pixel_mm),
        "protocol": protocol.label,
    }
    rows = []
    for name, image in ((BASELINE, images["low_dose"]), (method, images["denoised"])):
        quality = image_quality(image, full_dose, mask, protocol)
        noise = noise_sd_hu(image, tissues[SOFT_TISSUE.name], pixel_mm)
        rows.append(
            {"method": name, **shared, **vars(quality), **_biases(image, full_dose, tissues), "noise_sd_hu": noise}
        )
    return rows


def _biases(image: HuArray, reference: HuArray, tissues: dict[str, Mask]) -> dict[str, float | None]:
    return {tissue.measure: bias_hu(image, reference, tissues[tissue.name]) for tissue in TISSUES}

"""One row per slice and method: the table that every other figure comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ldctpipe.metrics.image_quality import Mask, image_quality, measured_mask
from ldctpipe.metrics.matching import MatchedSeries, common_padding
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
    methods: Mapping[str, MatchedSeries], index: int, patient: str, protocol: Protocol
) -> list[dict[str, Any]]:
    """Return the rows of `COLUMNS` for the low dose and the image of each method of one matched slice.

    `methods` is a series as `metrics.matching.in_common` returns it: one low and one full dose, the same slices.
    """
    series = next(iter(methods.values()))
    full_dose = series.images(index)["full_dose"]
    padding = common_padding(methods, index)
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
    for name, image in images_of(methods, index).items():
        quality = image_quality(image, full_dose, mask, protocol)
        noise = noise_sd_hu(image, tissues[SOFT_TISSUE.name], pixel_mm)
        rows.append(
            {"method": name, **shared, **vars(quality), **_biases(image, full_dose, tissues), "noise_sd_hu": noise}
        )
    return rows


def images_of(methods: Mapping[str, MatchedSeries], index: int) -> dict[str, HuArray]:
    """Return the HU images (rows, columns) of one slice that are compared with the full dose: low dose, each method."""
    low_dose = next(iter(methods.values())).images(index)["low_dose"]
    return {BASELINE: low_dose, **{name: series.images(index)["denoised"] for name, series in methods.items()}}


def _biases(image: HuArray, reference: HuArray, tissues: dict[str, Mask]) -> dict[str, float | None]:
    return {tissue.measure: bias_hu(image, reference, tissues[tissue.name]) for tissue in TISSUES}

"""PSNR, SSIM and RMSE of one slice under a protocol. scikit-image is the field's reference and needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10, sqrt

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

from ldctpipe.metrics.protocols import Protocol
from ldctpipe.volumes.volume import HuArray

FloatImage = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ImageQuality:
    """Figures of one slice; None where one can't be computed (no pixel left, or PSNR of two equal images)."""

    psnr_db: float | None
    ssim: float | None
    rmse_hu: float | None


def measured_mask(reference_hu: HuArray, padding: Mask | None, protocol: Protocol) -> Mask:
    """Return True where the protocol measures, in the shape of `reference_hu` (rows, columns).

    `padding` marks the scanner's padding in either image of the pair; None means that there is none.
    """
    rule = protocol.mask
    mask = np.asarray(reference_hu >= rule.below_hu)
    if rule.padding and padding is not None:
        mask &= ~padding
    if rule.above_hu is not None:
        mask &= reference_hu > rule.above_hu
    return mask


def windowed(image_hu: HuArray, reference_hu: HuArray, mask: Mask, protocol: Protocol) -> tuple[FloatImage, FloatImage]:
    """Return both images in HU clipped to the window, and the first equal to the second where `mask` is False."""
    reference = np.clip(reference_hu.astype(np.float64), *protocol.window_hu)
    return np.where(mask, np.clip(image_hu.astype(np.float64), *protocol.window_hu), reference), reference


def image_quality(image_hu: HuArray, reference_hu: HuArray, mask: Mask, protocol: Protocol) -> ImageQuality:
    """Return PSNR (dB), SSIM and RMSE (HU, after the clip to the window) of a slice against its reference.

    Both images have shape (rows, columns) and hold HU; `mask` is True where pixels count. Where it is True everywhere
    the figures are those of scikit-image on the clipped slice; like it, SSIM leaves out half a window at the border.
    """
    if not mask.any():
        return ImageQuality(None, None, None)
    image, reference = windowed(image_hu, reference_hu, mask, protocol)
    rmse_hu = sqrt(np.mean((image - reference)[mask] ** 2))
    psnr_db = 20 * log10(protocol.data_range_hu / rmse_hu) if rmse_hu > 0 else None
    return ImageQuality(psnr_db, _ssim(image, reference, mask, protocol), rmse_hu)


def _ssim(image: FloatImage, reference: FloatImage, mask: Mask, protocol: Protocol) -> float | None:
    form = protocol.ssim
    border = form.window // 2
    if min(image.shape) <= 2 * border:
        return None
    _, similarity = structural_similarity(
        image + protocol.hu_offset,
        reference + protocol.hu_offset,
        win_size=form.window,
        data_range=protocol.data_range_hu,
        gaussian_weights=True,
        sigma=form.sigma,
        use_sample_covariance=False,
        K1=form.k1,
        K2=form.k2,
        full=True,
    )
    inner = (slice(border, -border), slice(border, -border))
    return float(similarity[inner][mask[inner]].mean()) if mask[inner].any() else None

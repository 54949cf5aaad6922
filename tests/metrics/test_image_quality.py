"""PSNR, SSIM and RMSE against scikit-image, a second library and closed forms."""

from __future__ import annotations

from math import log10

import numpy as np
import pytest
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from ldctpipe.metrics.image_quality import image_quality, measured_mask
from ldctpipe.metrics.protocols import all_protocols, find_protocol

MAYO = find_protocol("mayo-soft")
EVERYWHERE = np.ones((96, 80), dtype=bool)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A noisy image and its reference: discs of air, fat, soft tissue and bone, int16 HU."""
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:96, :80]
    radius = np.hypot(rows - 48, columns - 40)
    reference = np.select([radius < 8, radius < 25, radius < 36], [700.0, 50.0, -100.0], -1000.0)
    reference += random.normal(0, 8, reference.shape)
    image = reference + random.normal(0, 30, reference.shape)
    return np.rint(image).astype(np.int16), np.rint(reference).astype(np.int16)


@pytest.mark.parametrize("protocol", [p for p in all_protocols() if p.mask.above_hu is None], ids=lambda p: p.label)
def test_equals_scikit_image_on_the_clipped_slice(pair, protocol):
    image, reference = (np.clip(each.astype(float), *protocol.window_hu) + protocol.hu_offset for each in pair)
    data_range = protocol.data_range_hu

    quality = image_quality(*pair, EVERYWHERE, protocol)

    assert quality.psnr_db == pytest.approx(peak_signal_noise_ratio(reference, image, data_range=data_range), abs=1e-9)
    assert quality.rmse_hu == pytest.approx(mean_squared_error(reference, image) ** 0.5, abs=1e-9)
    similarity = structural_similarity(
        reference, image, data_range=data_range, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert quality.ssim == pytest.approx(similarity, abs=1e-9)


@pytest.mark.slow
def test_ssim_agrees_with_torchmetrics(pair):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.image")
    low_hu, high_hu = MAYO.window_hu
    image, reference = (
        torch.from_numpy(np.clip(each.astype(np.float64), low_hu, high_hu))[None, None] for each in pair
    )
    _, similarity = functional.structural_similarity_index_measure(
        image, reference, gaussian_kernel=True, sigma=1.5, data_range=400.0, return_full_image=True
    )
    inner = similarity[..., 5:-5, 5:-5]  # torchmetrics counts the reflected border, scikit-image does not
    assert image_quality(*pair, EVERYWHERE, MAYO).ssim == pytest.approx(float(inner.mean()), abs=1e-5)


@pytest.mark.parametrize("offset_hu", [1, 10, 40])
def test_a_constant_shift_has_a_known_psnr_and_rmse(offset_hu):
    reference = np.full((96, 80), 30, dtype=np.int16)
    quality = image_quality((reference + offset_hu).astype(np.int16), reference, EVERYWHERE, MAYO)
    assert quality.rmse_hu == pytest.approx(offset_hu)
    assert quality.psnr_db == pytest.approx(20 * log10(400 / offset_hu))


def test_differences_beyond_the_window_do_not_count():
    reference = np.full((96, 80), 900, dtype=np.int16)
    quality = image_quality((reference + 500).astype(np.int16), reference, EVERYWHERE, MAYO)
    assert quality.rmse_hu == 0


def test_equal_images_have_no_finite_psnr(pair):
    quality = image_quality(pair[1], pair[1], EVERYWHERE, MAYO)
    assert (quality.psnr_db, quality.rmse_hu) == (None, 0)
    assert quality.ssim == pytest.approx(1)


def test_what_lies_in_the_padding_has_no_influence(pair):
    image, reference = pair
    padding = np.zeros(reference.shape, dtype=bool)
    padding[:, :12] = True
    mask = measured_mask(reference, padding, MAYO)
    scribbled = np.where(padding, 3000, image).astype(np.int16)

    assert image_quality(scribbled, reference, mask, MAYO) == image_quality(image, reference, mask, MAYO)
    measured = image[:, 12:].clip(-160, 240) - reference[:, 12:].clip(-160, 240).astype(float)
    assert image_quality(image, reference, mask, MAYO).rmse_hu == pytest.approx(np.sqrt(np.mean(measured**2)))


def test_fill_outside_of_the_scan_circle_is_left_out_without_a_padding_mark(pair):
    reference = pair[1].copy()
    reference[:5] = -3024
    assert not measured_mask(reference, None, MAYO)[:5].any()
    assert measured_mask(reference, None, MAYO)[5:].all()


def test_the_bone_protocol_measures_bone_only(pair):
    image, reference = pair
    bone = find_protocol("bone")
    mask = measured_mask(reference, None, bone)
    changed_elsewhere = np.where(mask, image, 0).astype(np.int16)
    assert mask.sum() == (reference > 200).sum()
    assert image_quality(changed_elsewhere, reference, mask, bone).rmse_hu == image_quality(*pair, mask, bone).rmse_hu


def test_nothing_to_measure_gives_nothing(pair):
    quality = image_quality(*pair, np.zeros_like(EVERYWHERE), MAYO)
    assert (quality.psnr_db, quality.ssim, quality.rmse_hu) == (None, None, None)

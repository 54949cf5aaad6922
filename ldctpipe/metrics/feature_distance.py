"""KID and FID: how far apart sets of images lie in the features of an ImageNet Inception network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

from ldctpipe.errors import InputError
from ldctpipe.files import require_exists, sha256_of_file
from ldctpipe.foreign import require_file
from ldctpipe.metrics.image_quality import measured_mask, windowed
from ldctpipe.metrics.matching import MatchedSeries, common_padding
from ldctpipe.metrics.protocols import Protocol
from ldctpipe.metrics.slices import images_of
from ldctpipe.progress import Progress

_LAYER = "2048"
_EXTRACTOR = "Inception v3 (2015-12-05) as torch-fidelity computes it, 2048 pooled features"
_REFERENCE = "full_dose"
_BATCH = 8
# An unbiased estimate needs no subsets; they bound the kernel's memory where there are more images than this.
_KID_IMAGES, _KID_SUBSETS = 1000, 100

Features = npt.NDArray[np.float64]
Images = npt.NDArray[np.uint8]


class FeatureDistances:
    """Collects the features of slices, and gives the distance of each method's from those of the full dose.

    A slice is what the protocol sees: clipped to its window, the full dose where it doesn't measure, then in 8 bits as
    the network takes it. `weights` is the file that torch-fidelity and pytorch-fid publish. Raises `InputError` for
    another.
    """

    def __init__(self, weights: Path, protocol: Protocol, device: torch.device) -> None:
        self._protocol, self._device = protocol, device
        self._network = _inception(weights).to(device)
        self._weights_sha256 = sha256_of_file(weights)
        self._features: dict[str, list[torch.Tensor]] = {}

    def add(self, methods: Mapping[str, MatchedSeries], patient: str) -> None:
        """Take in all slices of a series: low dose, denoised by each of `methods`, and full dose."""
        series = next(iter(methods.values()))
        progress = Progress(f"features {patient}", len(series), "slices")
        for start in range(0, len(series), _BATCH):
            indices = range(start, min(start + _BATCH, len(series)))
            shown = [dict(self._images(methods, index)) for index in indices]
            for name in shown[0]:
                self._features.setdefault(name, []).append(self._features_of(np.stack([each[name] for each in shown])))
            progress.advance(len(indices))
        progress.finish()

    def as_json(self, seed: int) -> dict[str, Any]:
        """Return KID and FID by method beside what they were computed with; None for fewer than two images."""
        features = {name: torch.cat(parts).double() for name, parts in self._features.items()}
        reference = features.pop(_REFERENCE)
        images = len(reference)
        per_subset, subsets = min(images, _KID_IMAGES), _KID_SUBSETS if images > _KID_IMAGES else 1
        methods: dict[str, dict[str, float | None]] = {name: {"kid": None, "fid": None} for name in features}
        for name, own in features.items() if images > 1 else ():
            options = {"kid_subsets": subsets, "kid_subset_size": per_subset, "rng_seed": seed}
            kid = kid_features_to_metric(own, reference, verbose=False, **options)[KEY_METRIC_KID_MEAN]
            methods[name] = {"kid": kid, "fid": frechet_distance(own.numpy(), reference.numpy())}
        return {
            "methods": methods,
            "extractor": _EXTRACTOR,
            "weights_sha256": self._weights_sha256,
            "n_images": images,
            "kid": {"subsets": subsets, "images_per_subset": per_subset},
        }

    def _images(self, methods: Mapping[str, MatchedSeries], index: int) -> Iterator[tuple[str, Images]]:
        full_dose = next(iter(methods.values())).images(index)[_REFERENCE]
        mask = measured_mask(full_dose, common_padding(methods, index), self._protocol)
        low_hu, high_hu = self._protocol.window_hu
        for name, image in (images_of(methods, index) | {_REFERENCE: full_dose}).items():
            image_hu, _ = windowed(image, full_dose, mask, self._protocol)
            yield name, np.rint((image_hu - low_hu) * 255 / (high_hu - low_hu)).astype(np.uint8)

    @torch.inference_mode()
    def _features_of(self, images: Images) -> torch.Tensor:
        """Return (slices, 2048) float32 on the CPU for (slices, rows, columns)."""
        batch = torch.from_numpy(images).to(self._device)[:, None].expand(-1, 3, -1, -1)
        (features,) = self._network(batch)
        return features.cpu()


def frechet_distance(features: Features, others: Features) -> float:
    """Return the squared Fréchet distance of the normal distributions of two sets, each (images, features).

    Heusel et al. 2017, arXiv 1706.08500: |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2·(Σ₁Σ₂)^½). With Σ = RᵀR that last trace is the sum
    of the singular values of R₁R₂ᵀ: exact for fewer images than features too, where the root of the product of two
    singular matrices is computed slowly and badly.
    """
    (mean, factor), (other_mean, other_factor) = _factored(features), _factored(others)
    shared = np.linalg.svd(factor @ other_factor.T, compute_uv=False).sum()
    spread = np.sum(factor**2) + np.sum(other_factor**2) - 2 * shared
    return float(np.sum((mean - other_mean) ** 2) + spread)


def _factored(features: Features) -> tuple[Features, Features]:
    mean = features.mean(axis=0)
    return mean, np.linalg.qr(features - mean, mode="r") / np.sqrt(len(features) - 1)


def _inception(weights: Path) -> FeatureExtractorInceptionV3:
    require_file(require_exists(weights))
    remedy = "give weights-inception-2015-12-05-6726825d.pth of torch-fidelity"
    try:
        # The library unpickles its file unguarded: what this guarded reading has accepted holds nothing but tensors.
        torch.load(weights, map_location="cpu", weights_only=True)
        return FeatureExtractorInceptionV3("inception", [_LAYER], feature_extractor_weights_path=str(weights))
    except Exception as error:  # noqa: BLE001 - torch raises many kinds for a file that is not these weights
        fault = f"holds no weights of the Inception network of FID ({type(error).__name__})"
        raise InputError(weights, fault, remedy) from None

"""ST-LPIPS: how far an image lies from its reference in the features of a shift-tolerant VGG16.

Ghildyal and Liu, Shift-tolerant Perceptual Similarity Metric, ECCV 2022 (arXiv 2207.13686). It is not LPIPS: other
weights, and a network that blurs before it subsamples. The package stlpips-pytorch brings the weights. Its own code of
the network is not used: it is licensed for non-commercial use and imports packages that it does not declare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import conv2d, max_pool2d, pad

from ldctpipe.errors import UsageError
from ldctpipe.files import sha256_of_file
from ldctpipe.metrics.image_quality import measured_mask, windowed
from ldctpipe.metrics.matching import MatchedSeries, common_padding
from ldctpipe.metrics.protocols import Protocol
from ldctpipe.metrics.slices import images_of
from ldctpipe.progress import Progress

_PACKAGE = "stlpips-pytorch"
_WEIGHTS = Path("weights", "vST0.0", "vgg_shift_tolerant.pth")
_EXTRACTOR = "VGG16 with blur before subsampling, five layers, calibrated (ST-LPIPS, variant shift_tolerant)"
# VGG16: channels of the 3×3 convolutions of each block; a block's last output is a layer of the measure.
_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_LEAST_SIDE = 32  # four halvings, each with two reflected pixels

Tensors = Mapping[str, torch.Tensor]


class StLpips:
    """Measures ST-LPIPS of slices under a protocol, with the weights in `weights` or those of stlpips-pytorch.

    A slice is what the protocol sees: clipped to its window, the full dose where it doesn't measure, scaled to [−1, 1]
    in three equal channels. Raises `UsageError` where the package is not installed.
    """

    def __init__(self, protocol: Protocol, device: torch.device, weights: Path | None = None) -> None:
        self._protocol, self._device = protocol, device
        self._weights = weights or _weights_of_package()
        self._network = ShiftTolerantVgg(torch.load(self._weights, map_location="cpu", weights_only=True)).to(device)

    def of_series(self, methods: Mapping[str, MatchedSeries], patient: str) -> list[dict[str, float | None]]:
        """Return the distance of each slice from the full dose, by method and for the low dose.

        It is None for a slice without a pixel that the protocol measures, or with fewer than 32 rows or columns.
        """
        slices = len(next(iter(methods.values())))
        progress = Progress(f"ST-LPIPS {patient}", slices, "slices")
        found = []
        for index in range(slices):
            found.append(self._of_slice(methods, index))
            progress.advance()
        progress.finish()
        return found

    def as_json(self) -> dict[str, Any]:
        """Return what it is computed with."""
        packaged = self._weights.match(str(_WEIGHTS))
        return {
            "extractor": _EXTRACTOR,
            "package": f"{_PACKAGE} {version(_PACKAGE)}" if packaged else None,
            "weights_sha256": sha256_of_file(self._weights),
        }

    def _of_slice(self, methods: Mapping[str, MatchedSeries], index: int) -> dict[str, float | None]:
        full_dose = next(iter(methods.values())).images(index)["full_dose"]
        mask = measured_mask(full_dose, common_padding(methods, index), self._protocol)
        images = images_of(methods, index)
        if not mask.any() or min(full_dose.shape) < _LEAST_SIDE:
            return dict.fromkeys(images)
        clipped = [windowed(image, full_dose, mask, self._protocol) for image in images.values()]
        values = self.distances([image for image, _ in clipped], clipped[0][1])
        return dict(zip(images, values, strict=True))

    @torch.inference_mode()
    def distances(self, images: Sequence[npt.NDArray[np.float64]], reference: npt.NDArray[np.float64]) -> list[float]:
        """Return the distance of each of `images` from `reference`, all (rows, columns) in HU inside the window."""
        low_hu, high_hu = self._protocol.window_hu
        scaled = (np.stack([reference, *images]) - low_hu) * (2 / (high_hu - low_hu)) - 1
        batch = torch.from_numpy(scaled.astype(np.float32)).to(self._device)[:, None].expand(-1, 3, -1, -1)
        return [float(value) for value in self._network(batch)]


class ShiftTolerantVgg(nn.Module):
    """The network of ST-LPIPS, from the tensors that its authors publish."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        self.register_buffer("shift", tensors["scaling_layer.shift"])
        self.register_buffer("scale", tensors["scaling_layer.scale"])
        self.blocks, self.calibrations = nn.ModuleList(), nn.ParameterList()
        channels = 3
        for number, widths in enumerate(_BLOCKS):
            # Names are net.sliceN.K.weight, where K counts the layers of all blocks.
            names = sorted(
                (n for n in tensors if n.startswith(f"net.slice{number + 1}.") and n.endswith(".weight")),
                key=lambda name: int(name.split(".")[2]),
            )
            block = nn.ModuleList()
            for name, width in zip(names, widths, strict=True):
                layer = nn.Conv2d(channels, width, 3, padding=1)
                layer.load_state_dict({"weight": tensors[name], "bias": tensors[name.replace("weight", "bias")]})
                block.append(layer)
                channels = width
            self.blocks.append(block)
            self.calibrations.append(nn.Parameter(tensors[f"lin{number}.model.1.weight"]))
        self.eval().requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the distance of images 1, 2, … from image 0 for (1 + n, 3, rows, columns) in [−1, 1], shape (n,)."""
        features = (images - self.shift) / self.scale
        total = torch.zeros(len(images) - 1, device=images.device)
        for number, (block, calibration) in enumerate(zip(self.blocks, self.calibrations, strict=True)):
            if number:
                features = _blurred_half(max_pool2d(features, kernel_size=2, stride=1))
            for layer in block:  # type: ignore[attr-defined]
                features = layer(features).relu_()
            unit = features / (features.norm(dim=1, keepdim=True) + 1e-10)
            total += conv2d((unit[1:] - unit[:1]) ** 2, calibration).mean(dim=(1, 2, 3))
        return total


def _blurred_half(features: torch.Tensor) -> torch.Tensor:
    """Return every second pixel after a binomial 3×3 filter (Zhang 2019), with two reflected pixels at each border."""
    channels = features.shape[1]
    binomial = torch.tensor([1.0, 2.0, 1.0], device=features.device) / 4
    kernel = (binomial[:, None] * binomial).expand(channels, 1, 3, 3)
    return conv2d(pad(features, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=channels)


def _weights_of_package() -> Path:
    package = find_spec("stlpips_pytorch")
    if package is None or package.origin is None:
        fault = f"--st-lpips needs the package {_PACKAGE}, which is not installed"
        raise UsageError(None, fault, "run `pip install 'ldctpipe[stlpips]'`")
    return Path(package.origin).parent / _WEIGHTS

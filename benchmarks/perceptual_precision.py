"""What mixed precision would do to a perceptual loss, whose features are therefore computed in float32.

    .venv/bin/python benchmarks/perceptual_precision.py --weights FILE [--network tf_efficientnet_lite0]

FILE has the network's ImageNet weights in timm's naming. The loss compares patches 64×64 of a phantom with themselves
plus white noise, in the features at strides 8, 16 and 32. The gradient at the patches in bfloat16 is compared with that
in float32: its length as a ratio, and the cosine of the angle between both, 1 where they agree. "first" has the first
convolution in float32 and the others in bfloat16.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ldctpipe.losses.perceptual import PerceptualLoss
from ldctpipe.models.image_layers import see_in_float32
from ldctpipe.simulation.phantom import make_patient, noise_free_slices
from ldctpipe.training.imagenet import ImageNetWeights
from ldctpipe.volumes.normalization import HuNormalization

STAGES = (2, 3, 4)
NOISE_HU = (1, 3, 10, 25)
SIDE, PATCHES, CUTOFF_PER_MM = 64, 16, 0.7


class Mixed(PerceptualLoss):
    """The loss as autocast has it."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pairs = zip(self._features(output), self._features(target), strict=True)
            return torch.stack([self._distance(a.float() - b.float()).mean() for a, b in pairs]).sum()


def patches() -> Tensor:
    """Return patches (number, 1, side, side) of a simulated trunk, as networks see it."""
    patient = make_patient("L000", 0, seed=1, slices=2, size=512, thickness_mm=3, increment_mm=40)
    slices, _ = noise_free_slices(patient, CUTOFF_PER_MM, threads=1)
    normalized = HuNormalization(-1000, 2000).normalize(torch.from_numpy(slices))
    middle: Tensor = normalized[:, 128:384, 128:384].unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE)
    return middle.reshape(-1, 1, SIDE, SIDE)[:PATCHES]


def gradient(loss: PerceptualLoss, image: Tensor, target: Tensor) -> Tensor:
    image = image.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(image, target), image)
    return found


def loss_of(kind: Any, network: str, weights: Path) -> PerceptualLoss:
    loss: PerceptualLoss = kind(network, STAGES)
    ImageNetWeights(True, None, weights).load_into_perceptual(loss.network, network, None)
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--network", default="tf_efficientnet_lite0")
    given = parser.parse_args()
    exact, mixed, first = (loss_of(kind, given.network, given.weights) for kind in (PerceptualLoss, Mixed, Mixed))
    see_in_float32(first.network, slices=3)
    target = patches()
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    print("| noise (HU) | bfloat16: length | cosine | first: length | cosine |\n|---|---|---|---|---|")
    for hu in NOISE_HU:
        image = target + hu / 3000 * noise
        expected = gradient(exact, image, target)
        cells = []
        for loss in (mixed, first):
            found = gradient(loss, image, target)
            cosine = float((found * expected).sum() / found.norm() / expected.norm())
            cells += [f"{float(found.norm() / expected.norm()):.2f}", f"{cosine:.2f}"]
        print(f"| {hu} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

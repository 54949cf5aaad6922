"""The 70×70 PatchGAN discriminator: a map of scores, each of one patch of the image.

Isola, Zhu, Zhou and Efros, CVPR 2017, arXiv 1611.07004, as CycleGAN uses it (Zhu 2017, arXiv 1703.10593).
"""

from __future__ import annotations

from torch import Tensor, nn

from ldctpipe.models.initialisation import start_normal
from ldctpipe.models.normalisation import Norm, normalise


class PatchGan(nn.Module):
    """Scores overlapping patches: (batch, 1, rows, columns) to (batch, 1, rows/8 − 2, columns/8 − 2), unbounded.

    Convolutions 4×4: `layers` of stride 2, one more and the score of stride 1; the width doubles up to eightfold.
    LeakyReLU after each but the last; normalised but the first and the last. At the published three of stride 2 a
    score sees 70×70 pixels; the image needs at least 24×24.
    """

    def __init__(
        self, *, channels: int = 64, layers: int = 3, norm: Norm = "instance", negative_slope: float = 0.2
    ) -> None:
        super().__init__()
        steps: list[nn.Module] = [nn.Conv2d(1, channels, 4, stride=2, padding=1), nn.LeakyReLU(negative_slope)]
        width = channels
        for step in range(1, layers + 1):
            wider = channels * min(2**step, 8)
            stride = 2 if step < layers else 1
            steps += [nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=norm != "batch")]
            steps += [normalise(wider, norm), nn.LeakyReLU(negative_slope)]
            width = wider
        self.score = nn.Sequential(*steps, nn.Conv2d(width, 1, 4, padding=1))
        start_normal(self)

    def forward(self, image: Tensor) -> Tensor:
        return self.score(image)

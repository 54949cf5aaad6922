"""The generator of WGAN-VGG, which is also that of SMGAN in two dimensions: eight convolutions 3×3.

Yang et al. 2018, IEEE Trans Med Imaging 37(6), doi 10.1109/TMI.2018.2827462; You et al. 2018 (SMGAN-2D), IEEE Access 6,
doi 10.1109/ACCESS.2018.2858196. The critic of both is `critic.ConvCritic`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.initialisation import turn_positive


class WganVgg(nn.Module):
    """Denoises (batch, 1, rows, columns) in [0, 1] to the same shape: no skip, no norm, zero padding of one pixel.

    `output` says whether a ReLU follows the last convolution ("relu", as published) or not ("none", ldct-benchmark).
    """

    def __init__(self, *, channels: int = 32, layers: int = 8, output: Literal["relu", "none"] = "relu") -> None:
        super().__init__()
        widths = [1, *[channels] * (layers - 1)]
        hidden: list[nn.Module] = []
        for in_channels, out_channels in pairwise(widths):
            hidden += [nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1), nn.ReLU()]
        self.hidden = nn.Sequential(*hidden)
        self.last = nn.Conv2d(channels, 1, kernel_size=3, padding=1)
        self.rectified = output == "relu"
        if self.rectified:
            turn_positive(self, self.last)

    def forward(self, image: Tensor) -> Tensor:
        x = at_full_precision(self.last, self.hidden(image))
        return functional.relu(x) if self.rectified else x

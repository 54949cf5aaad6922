"""A binomial low-pass filter, against the folding of fine noise by strided convolutions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Binomial(nn.Module):
    """Filters each channel with a binomial kernel of odd side: 3 is (1, 2, 1)/4 along rows and columns, 1 is none.

    Sides above 1 have their zero at the Nyquist frequency; the mean of an image stays, borders are reflected.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        line = torch.tensor([math.comb(side - 1, k) for k in range(side)]) / 2 ** (side - 1)
        self.kernel: Tensor
        self.register_buffer("kernel", torch.outer(line, line)[None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        margin = self.kernel.shape[-1] // 2
        if margin == 0:
            return image
        channels = image.shape[1]
        padded = functional.pad(image, (margin,) * 4, mode="reflect")
        return functional.conv2d(padded, self.kernel.expand(channels, 1, -1, -1), groups=channels)

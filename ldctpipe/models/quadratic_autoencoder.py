"""Q-AE: a residual encoder–decoder whose neurons are quadratic.

Fan et al. 2020, IEEE Trans Med Imaging 39(6), doi 10.1109/TMI.2019.2963248.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.padding import pad_to_at_least

_DEPTH = 5
_DEVIATION = 0.1  # of the truncated normal distribution that the first weights come from


class QuadraticAutoencoder(nn.Module):
    """Denoises (batch, 1, rows, columns) in [0, 1] to the same shape.

    The fifth convolution and the first transposed one are not padded, the others keep the size. The skips are added
    before the ReLU: the fourth and second convolution's output to the first and third transposed one, the input to the
    last. `output` says whether a ReLU follows ("relu", the authors' code) or not ("none", ldct-benchmark).
    """

    def __init__(self, *, channels: int = 15, output: Literal["relu", "none"] = "relu") -> None:
        super().__init__()
        widths = [1, *[channels] * _DEPTH]
        self.encoder = nn.ModuleList(
            QuadraticConvolution(nn.Conv2d, widths[i], widths[i + 1], padding=int(i < _DEPTH - 1))
            for i in range(_DEPTH)
        )
        self.decoder = nn.ModuleList(
            QuadraticConvolution(nn.ConvTranspose2d, widths[_DEPTH - i], widths[_DEPTH - 1 - i], padding=int(i > 0))
            for i in range(_DEPTH)
        )
        self.rectified = output == "relu"

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        image = pad_to_at_least(image, 3)
        x, entered = image, []
        for layer in self.encoder:
            entered.append(x)
            x = functional.relu(layer(x))
        for index, layer in enumerate(self.decoder[:-1]):
            skip = entered[_DEPTH - 1 - index] if index % 2 == 0 else 0
            x = functional.relu(layer(x) + skip)
        x = at_full_precision(self.decoder[-1], x) + image
        x = functional.relu(x) if self.rectified else x
        return x[..., :rows, :columns]


class QuadraticConvolution(nn.Module):
    """(w_r ∗ x + b_r)(w_g ∗ x + b_g) + w_b ∗ x² + c with 3×3 kernels: a quadratic neuron at each pixel.

    It starts as the linear w_r ∗ x: w_g, w_b, b_r and c are 0 and b_g is 1.
    """

    def __init__(
        self, kind: type[nn.Conv2d] | type[nn.ConvTranspose2d], in_channels: int, out_channels: int, *, padding: int
    ) -> None:
        super().__init__()
        self.linear = kind(in_channels, out_channels, kernel_size=3, padding=padding)
        self.gate = kind(in_channels, out_channels, kernel_size=3, padding=padding)
        self.square = kind(in_channels, out_channels, kernel_size=3, padding=padding)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            nn.init.trunc_normal_(self.linear.weight, std=_DEVIATION, a=-2 * _DEVIATION, b=2 * _DEVIATION)
            self.gate.bias.fill_(1)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.gate(x) + self.square(x * x)

"""DRL: seven dilated convolutions with two shortcuts, and a variant that sees the edges of the image.

Gholizadeh-Ansari et al. 2018, EMBC, doi 10.1109/EMBC.2018.8513453, and 2020, J Digit Imaging 33,
doi 10.1007/s10278-019-00274-4 (edges and perceptual loss).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.initialisation import start_glorot

# Horizontal, vertical and both diagonals, as in the authors' code.
_EDGES = (
    ((-1.0, -2.0, -1.0), (0.0, 0.0, 0.0), (1.0, 2.0, 1.0)),
    ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0)),
    ((0.0, 1.0, 2.0), (-1.0, 0.0, 1.0), (-2.0, -1.0, 0.0)),
    ((-2.0, -1.0, 0.0), (-1.0, 0.0, 1.0), (0.0, 1.0, 2.0)),
)


class Drl(nn.Module):
    """Corrects the last channel of (batch, in_channels, rows, columns) in [0, 1]: (batch, 1, rows, columns).

    Without `edges`, what the network finds is added to that channel. With them, four edge images of it enter the
    network too, and a last 3×3 convolution over result, image and edges takes the place of the sum, as published.
    """

    def __init__(self, *, in_channels: int = 1, channels: int = 64, edges: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels + edges * len(_EDGES), channels, kernel_size=5, padding=2)
        self.second = _dilated(channels, channels, 2)
        self.middle = nn.Sequential(*(_dilated(channels, channels, dilation) for dilation in (3, 4, 3)))
        self.sixth = _dilated(2 * channels, channels, 2)
        self.seventh = nn.Conv2d(2 * channels, 1, kernel_size=3, padding=1)
        self.last = nn.Conv2d(2 + len(_EDGES), 1, kernel_size=3, padding=1) if edges else None
        start_glorot(self)

    def forward(self, image: Tensor) -> Tensor:
        corrected = image[:, -1:]
        found = () if self.last is None else (edge_images(corrected),)
        first = functional.relu(self.first(torch.cat((image, *found), dim=1)))
        second = self.second(first)
        sixth = self.sixth(torch.cat((self.middle(second), second), dim=1))
        drawn = at_full_precision(self.seventh, torch.cat((sixth, first), dim=1))
        if self.last is None:
            return corrected + drawn
        return at_full_precision(self.last, torch.cat((drawn, corrected, *found), dim=1))


def edge_images(image: Tensor) -> Tensor:
    """Return (batch, 4, rows, columns) of (batch, 1, rows, columns): Sobel's filters in four directions, unscaled."""
    with torch.autocast(image.device.type, enabled=False):
        padded = functional.pad(image, (1, 1, 1, 1), mode="reflect")
        return functional.conv2d(padded, image.new_tensor(_EDGES).unsqueeze(1))


def _dilated(in_channels: int, out_channels: int, dilation: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=dilation, dilation=dilation)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())

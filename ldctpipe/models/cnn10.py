"""CNN10: ten convolutions and one to the image that predict the difference to the full dose; one level of a cascade.

Wu et al. 2017, arXiv 1705.04267. It has nothing to do with "cnn10" of ldct-benchmark, three layers of Chen et al. 2017.
"""

from __future__ import annotations

from torch import Tensor, nn

from ldctpipe.models.full_precision import at_full_precision


class Cnn10(nn.Module):
    """Corrects the last channel of (batch, in_channels, rows, columns) in [0, 1]: (batch, 1, rows, columns).

    The network predicts what is too much in that channel. In a cascade's later levels the low-dose image is the channel
    before it. The first convolution has no batch norm: only so a level has the published 335,873 parameters.
    """

    def __init__(self, *, in_channels: int = 1, channels: int = 64, hidden_layers: int = 10) -> None:
        super().__init__()
        hidden: list[nn.Module] = [nn.Conv2d(in_channels, channels, kernel_size=3, padding=1), nn.ReLU()]
        for _ in range(hidden_layers - 1):
            hidden += [nn.Conv2d(channels, channels, kernel_size=3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
        self.hidden = nn.Sequential(*hidden)
        self.last = nn.Conv2d(channels, 1, kernel_size=3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return image[:, -1:] - at_full_precision(self.last, self.hidden(image))

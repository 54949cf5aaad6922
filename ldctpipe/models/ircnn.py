"""IRCNN: seven dilated convolutions that predict the noise, made as a prior for plug-and-play restoration.

Zhang et al. 2017, CVPR, arXiv 1704.03264.
"""

from __future__ import annotations

from torch import Tensor, nn

from ldctpipe.models.full_precision import at_full_precision

_DILATIONS = (1, 2, 3, 4, 3, 2, 1)


class Ircnn(nn.Module):
    """Denoises (batch, 1, rows, columns) in [0, 1] to the same shape: the image minus what the network finds.

    ReLU after the first layer, batch norm and ReLU after the next five, nothing after the last. `bias` is the bias of
    the convolutions; the batch norm's shift makes it idle in the middle five.
    """

    def __init__(self, *, channels: int = 64, bias: bool = True) -> None:
        super().__init__()
        hidden: list[nn.Module] = []
        for index, dilation in enumerate(_DILATIONS[:-1]):
            in_channels = channels if index else 1
            hidden.append(nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation, bias=bias))
            hidden += [nn.BatchNorm2d(channels), nn.ReLU()] if index else [nn.ReLU()]
        self.hidden = nn.Sequential(*hidden)
        self.last = nn.Conv2d(channels, 1, kernel_size=3, padding=1, bias=bias)

    def forward(self, image: Tensor) -> Tensor:
        return image - at_full_precision(self.last, self.hidden(image))

"""The generator of DU-GAN: RED-CNN's scheme with 3×3 kernels, more layers and a skip at each of them.

Huang et al. 2022, IEEE Trans Instrum Meas 71, doi 10.1109/TIM.2021.3128703; layout of the authors' Hzzone/DU-GAN.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.initialisation import start_gaussian


class DuGan(nn.Module):
    """Denoises (batch, 1, rows, columns) in [0, 1] to the same shape.

    What enters each convolution is added, before the ReLU, to what the transposed convolution that mirrors it gives.
    The last of these ReLUs is the output, as published.
    """

    def __init__(self, *, channels: int = 32, layers: int = 11) -> None:
        super().__init__()
        widths = [1, *[channels] * layers]
        self.encoder = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 3, padding=1) for i in range(layers))
        self.decoder = nn.ModuleList(
            nn.ConvTranspose2d(widths[i + 1], widths[i], 3, padding=1) for i in reversed(range(layers))
        )
        start_gaussian(self, deviation=0.01)

    def forward(self, image: Tensor) -> Tensor:
        x, entered = image, []
        for layer in self.encoder:
            entered.append(x)
            x = functional.relu(layer(x))
        for layer in self.decoder[:-1]:
            x = functional.relu(layer(x) + entered.pop())
        return functional.relu(at_full_precision(self.decoder[-1], x) + entered.pop())

"""RED-CNN: a residual encoder–decoder of five convolutions and five transposed convolutions.

Chen et al. 2017, IEEE Trans Med Imaging 36(12), doi 10.1109/TMI.2017.2715284.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.initialisation import start_gaussian
from ldctpipe.models.padding import pad_to_at_least

_DEPTH = 5  # convolutions, and as many transposed ones


class RedCnn(nn.Module):
    """Denoises (batch, 1, rows, columns) in [0, 1] to the same shape.

    No convolution is padded: each takes `kernel` − 1 pixels off, and its transposed mirror gives them back. The skips
    are added before the ReLU: the input to the last transposed convolution, the second and fourth convolution's output
    to the third and the first. `output` says whether a ReLU follows the last sum ("relu", as published) or not ("none",
    as in ldct-benchmark, whose data are below 0 half of the time).
    """

    def __init__(self, *, channels: int = 96, kernel: int = 5, output: Literal["relu", "none"] = "relu") -> None:
        super().__init__()
        widths = [1, *[channels] * _DEPTH]
        self.encoder = nn.ModuleList(nn.Conv2d(i, o, kernel) for i, o in pairwise(widths))
        self.decoder = nn.ModuleList(nn.ConvTranspose2d(i, o, kernel) for i, o in pairwise(reversed(widths)))
        self.smallest_side = _DEPTH * (kernel - 1) + 1
        self.rectified = output == "relu"
        start_gaussian(self, deviation=0.01)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        image = pad_to_at_least(image, self.smallest_side)
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

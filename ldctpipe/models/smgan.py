"""The 3-D generator of SMGAN: eight convolutions, every other one over three slices.

You et al. 2018, IEEE Access 6, doi 10.1109/ACCESS.2018.2858196. Its 2-D form is `wgan_vgg.WganVgg`.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.initialisation import turn_positive
from ldctpipe.models.padding import pad_around

_LAYERS = 8


class Smgan3d(nn.Module):
    """Denoises the centre slice of (batch, 9, rows, columns) in [0, 1]: (batch, 1, rows, columns).

    Odd layers are 3×3 in the plane, even ones 3×3×3, none is padded, and a ReLU follows each. The publication loses
    8 rows and columns on each side (80 → 64); here the image is reflected by 8 once, before the first layer, so that
    slices keep their size. A deeper slab gives every slice that has 4 neighbours on both sides, as published 11 slices
    give 3: (batch, depth − 8, rows, columns). `output` says whether the last ReLU is there ("relu", as published) or
    not ("none").
    """

    takes_slabs = True
    context = _LAYERS // 2

    def __init__(self, *, channels: int = 32, output: Literal["relu", "none"] = "relu") -> None:
        super().__init__()
        widths = [1, *[channels] * (_LAYERS - 1), 1]
        self.layers = nn.ModuleList(
            nn.Conv3d(widths[i], widths[i + 1], kernel_size=(1 if i % 2 == 0 else 3, 3, 3)) for i in range(_LAYERS)
        )
        self.rectified = output == "relu"
        if self.rectified:
            turn_positive(self, self.layers[-1], depth=2 * self.context + 1)

    def forward(self, image: Tensor) -> Tensor:
        x = pad_around(image, _LAYERS).unsqueeze(1)  # (batch, channels, depth, rows, columns)
        for layer in self.layers[:-1]:
            x = functional.relu(layer(x))
        x = at_full_precision(self.layers[-1], x).squeeze(1)
        return functional.relu(x) if self.rectified else x

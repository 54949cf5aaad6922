"""A cascade of networks, each of which corrects what the levels before it made of the low-dose image.

Wu et al. 2017, arXiv 1705.04267 (levels of CNN10), and Ataei et al. 2020, arXiv 2006.14738 (levels of DRL, the first
trained by a perceptual loss). The levels are trained one after another.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ldctpipe.models.cnn10 import Cnn10
from ldctpipe.models.drl import Drl

Level = Literal["cnn10", "drl"]
Inputs = Literal["low_dose_and_previous", "previous"]
_NETWORKS: dict[str, type[Cnn10] | type[Drl]] = {"cnn10": Cnn10, "drl": Drl}


class Cascade(nn.Module):
    """Denoises (batch, 1, rows, columns) in [0, 1] to the same shape by `levels` in turn.

    From the second level on, a level sees the low-dose image and the previous level's result ("low_dose_and_previous",
    Wu 2017), or that result alone ("previous", Ataei 2020). Every level gives a corrected image: one that is trained
    on it by a mean squared error learns the same as one trained on the difference, which is what the publications say.
    The output is (1 − `blend`) · low dose + `blend` · last result.

    `running` is the number of levels that the output goes through, all of them unless a training has not come that far;
    a bundle keeps it with the weights.
    """

    def __init__(
        self,
        *,
        levels: tuple[Level, ...] = ("cnn10", "cnn10"),
        inputs: Inputs = "low_dose_and_previous",
        blend: float = 1.0,
    ) -> None:
        super().__init__()
        self.stacked = inputs == "low_dose_and_previous"
        self.levels = nn.ModuleList(
            _NETWORKS[level](in_channels=1 + (self.stacked and index > 0)) for index, level in enumerate(levels)
        )
        self.blend = blend
        self.running: Tensor
        self.register_buffer("running", torch.tensor(len(levels)))

    def forward(self, image: Tensor) -> Tensor:
        result = self._through(int(self.running), image)
        return result if self.blend == 1 else torch.lerp(image, result, self.blend)

    def input_of(self, index: int, image: Tensor) -> Tensor:
        """Return what the level of a 0-based index sees of a low-dose image, once those before it are trained."""
        if index == 0:
            return image
        previous = self._through(index, image)
        return torch.cat((image, previous), dim=1) if self.stacked else previous

    def _through(self, levels: int, image: Tensor) -> Tensor:
        """Return what the first levels make of the low-dose image."""
        result = image
        for index, level in enumerate(self.levels[:levels]):
            result = level(torch.cat((image, result), dim=1) if self.stacked and index else result)
        return result

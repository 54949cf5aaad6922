"""A cascade of networks, each of which corrects what the levels before it made of the low-dose image.

Wu et al. 2017, arXiv 1705.04267 (levels of CNN10), and Ataei et al. 2020, arXiv 2006.14738 (levels of DRL, the first
trained by a perceptual loss). The levels are trained one after another.
"""

from __future__ import annotations

from collections.abc import Iterable
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

    def forward(self, image: Tensor) -> Tensor:
        result = _through(self.levels, image, self.stacked)
        return result if self.blend == 1 else torch.lerp(image, result, self.blend)

    def truncated(self, levels: int) -> TruncatedCascade:
        """Return the first `levels` networks, shared with this cascade, for the training of the last of them."""
        return TruncatedCascade(self.levels[:levels], self.stacked)


class TruncatedCascade(nn.Module):
    """The first levels of a cascade, unblended: (batch, 1, rows, columns) in [0, 1] to the same shape.

    Only the last level learns. Those before it are frozen (also in the cascade that shares them) and stay in eval mode,
    so that its input is what they will give in the finished cascade.
    """

    def __init__(self, levels: nn.ModuleList, stacked: bool) -> None:
        super().__init__()
        self.levels, self.stacked = levels, stacked
        for index, level in enumerate(levels):
            level.requires_grad_(index == len(levels) - 1)

    def forward(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            result = _through(self.levels[:-1], image, self.stacked)
        return _level(self.levels[-1], image, result if len(self.levels) > 1 else None, self.stacked)

    def train(self, mode: bool = True) -> TruncatedCascade:
        super().train(mode)
        self.levels[:-1].eval()
        return self


def _through(levels: Iterable[nn.Module], image: Tensor, stacked: bool) -> Tensor:
    """Return what the levels make of the low-dose image; the image itself where there is none."""
    result = None
    for level in levels:
        result = _level(level, image, result, stacked)
    return image if result is None else result


def _level(level: nn.Module, image: Tensor, previous: Tensor | None, stacked: bool) -> Tensor:
    if previous is None:
        return level(image)
    return level(torch.cat((image, previous), dim=1) if stacked else previous)

"""The generator of Kang's CycleGAN for cardiac low-dose CT: residual modules whose outputs are all concatenated.

Kang, Koo, Yang, Seo and Ye, Medical Physics 2019, doi 10.1002/mp.13284, arXiv 1806.09748.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.initialisation import start_normal

_MODULES = 6
_DEPTH = 3  # convolutions in a module


class KangGenerator(nn.Module):
    """Denoises slices of any size: (batch, 1, rows, columns) in [0, 1] to the same shape, by a correction to its input.

    Three convolutions, six modules of three with a skip around each, and three convolutions on the seven stages'
    outputs together; 3×3, each but the last with batch norm and ReLU. `tied=True` gives the weights of the authors'
    PyTorch code, which runs one convolution and one batch norm through each module (and one of each through both
    ends); the paper draws untied layers, as their earlier MatConvNet network has them.
    """

    def __init__(self, *, channels: int = 128, tied: bool = False) -> None:
        super().__init__()
        wide, norm = _layers(channels, tied)
        self.first = nn.Sequential(*_block(nn.Conv2d(1, channels, 3, padding=1), norm()))
        self.first.extend(_chain(wide, norm, _DEPTH - 1))
        self.stages = nn.ModuleList(nn.Sequential(*_chain(*_layers(channels, tied), _DEPTH)) for _ in range(_MODULES))
        merge = nn.Conv2d((_MODULES + 1) * channels, channels, 3, padding=1)
        self.last = nn.Sequential(*_block(merge, norm()), *_chain(wide, norm, 1))
        self.head = nn.Conv2d(channels, 1, 3, padding=1)
        start_normal(self)

    def forward(self, image: Tensor) -> Tensor:
        outputs = [self.first(image)]
        for stage in self.stages:
            outputs.append(torch.relu(outputs[-1] + stage(outputs[-1])))
        return image + at_full_precision(self.head, self.last(torch.cat(outputs, dim=1)))

    def segments(self) -> list[nn.Module]:
        """Return the parts that follow one another, each small beside the whole: for recomputation of activations."""
        return list(self.stages)


def _layers(channels: int, tied: bool) -> tuple[Callable[[], nn.Module], Callable[[], nn.Module]]:
    """Return what gives the next convolution and the next batch norm: a new one at each call, or always the same."""
    if not tied:
        return lambda: nn.Conv2d(channels, channels, 3, padding=1), lambda: nn.BatchNorm2d(channels)
    convolution, norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
    return lambda: convolution, lambda: norm


def _chain(wide: Callable[[], nn.Module], norm: Callable[[], nn.Module], depth: int) -> list[nn.Module]:
    return [layer for _ in range(depth) for layer in _block(wide(), norm())]


def _block(convolution: nn.Module, norm: nn.Module) -> list[nn.Module]:
    return [convolution, norm, nn.ReLU(inplace=True)]

"""A state-space block that reads a feature map in zigzag: the block of CT-Mamba (Li 2025, arXiv 2411.07930)."""

from __future__ import annotations

import functools
import math

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.selective_scan import selective_scan

_DIRECTIONS = 4  # zigzag of the map and of its transpose, each forwards and backwards


class ZigzagBlock(nn.Module):
    """Layer norm and zigzag scan, added to the map (batch, rows, columns, channels); rows = columns."""

    def __init__(self, channels: int, *, states: int = 16, drop_path: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.scan = ZigzagScan(channels, states)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.scan(self.norm(x)))


class ZigzagScan(nn.Module):
    """Mixes positions of a square map (batch, side, side, channels) by selective scans in four directions."""

    def __init__(self, channels: int, states: int = 16, expansion: int = 2) -> None:
        super().__init__()
        inner, rank = expansion * channels, math.ceil(channels / 16)
        self.rank, self.states = rank, states
        self.expand = nn.Linear(channels, 2 * inner, bias=False)
        self.neighbours = nn.Conv2d(inner, inner, kernel_size=3, padding=1, groups=inner)
        bound = inner**-0.5
        self.select = nn.Parameter(torch.empty(_DIRECTIONS, rank + 2 * states, inner).uniform_(-bound, bound))
        self.step_weight = nn.Parameter(torch.empty(_DIRECTIONS, inner, rank).uniform_(-(rank**-0.5), rank**-0.5))
        self.step_bias = nn.Parameter(_step_bias(inner))
        decay = torch.arange(1, states + 1, dtype=torch.float32).log()
        self.log_decay = nn.Parameter(decay.expand(_DIRECTIONS, inner, states).clone())
        self.through = nn.Parameter(torch.ones(_DIRECTIONS, inner))
        self.norm = nn.LayerNorm(inner)
        self.project = nn.Linear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[1]
        x, gate = self.expand(x).chunk(2, dim=-1)
        x = functional.silu(self.neighbours(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        order = zigzag(side).to(x.device)
        back = order.argsort()
        mixed = torch.zeros((), device=x.device)
        for direction in range(_DIRECTIONS):
            transposed, backwards = direction % 2 == 1, direction >= 2
            sequence = (x.transpose(1, 2) if transposed else x).flatten(1, 2)[:, order]
            sequence = self._scanned(sequence.flip(1) if backwards else sequence, direction)
            seen = (sequence.flip(1) if backwards else sequence)[:, back].unflatten(1, (side, side))
            mixed = mixed + (seen.transpose(1, 2) if transposed else seen)
        return self.project(self.norm(mixed) * functional.silu(gate))

    def _scanned(self, u: Tensor, direction: int) -> Tensor:
        """Return one direction's scan of (batch, length, channels), its step and its matrices chosen by the input."""
        selected = functional.linear(u, self.select[direction])
        step, b, c = selected.split([self.rank, self.states, self.states], dim=-1)
        step = functional.linear(step, self.step_weight[direction]).float() + self.step_bias[direction]
        decay = -self.log_decay[direction].exp()
        return selective_scan(u, step, decay, b, c) + self.through[direction] * u.float()


@functools.cache
def zigzag(side: int) -> Tensor:
    """Return the order in which the zigzag reads a map of `side` rows and columns, as indices row by row.

    JPEG's zigzag over antidiagonals, but its first move is down: 0, 8, 1, 2, 9, 16, … for a side of 8.
    """
    positions = [(row, column) for row in range(side) for column in range(side)]

    def along(at: tuple[int, int]) -> tuple[int, int]:
        row, column = at
        return row + column, column if (row + column) % 2 else row

    return torch.tensor([row * side + column for row, column in sorted(positions, key=along)])


def _step_bias(channels: int, least: float = 1e-3, most: float = 0.1) -> Tensor:
    """Return biases whose softplus is spread over the published steps, evenly in their logarithm."""
    steps = torch.exp(torch.rand(_DIRECTIONS, channels) * math.log(most / least) + math.log(least))
    return steps + torch.log(-torch.expm1(-steps))

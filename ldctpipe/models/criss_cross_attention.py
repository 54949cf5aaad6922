"""Criss-cross self-attention: each position gathers from its row and its column; twice gathers from everywhere.

Huang et al., CCNet, ICCV 2019, arXiv 1811.11721, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CrissCrossAttention(nn.Module):
    """Adds to each position a weighted mean over its row and column: (batch, channels, rows, columns) to the same.

    `recurrence` passes share their weights; two reach every position. The sum's weight is learned and starts at 0, so
    that an untrained module is the identity. An image of n positions and sides of s costs n · 2s weights instead of
    n² as full self-attention does.
    """

    def __init__(self, channels: int, reduction: int = 8, recurrence: int = 2) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.query, self.key = nn.Conv2d(channels, hidden, 1), nn.Conv2d(channels, hidden, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.weight = nn.Parameter(torch.zeros(1))
        self.recurrence = recurrence

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.recurrence):
            x = x + self.weight * self.gather(x)
        return x

    def gather(self, x: Tensor) -> Tensor:
        """Return what each position gathers from its row and column in one pass, the position itself counted once."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        rows, columns = x.shape[-2:]
        along_column = torch.einsum("bcij,bckj->bijk", query, key).float()
        along_row = torch.einsum("bcij,bcik->bijk", query, key).float()
        itself = torch.eye(rows, dtype=torch.bool, device=x.device).view(1, rows, 1, rows)
        along_column = along_column.masked_fill(itself, -torch.inf)  # it is in the row already
        weights = torch.cat((along_column, along_row), dim=-1).softmax(dim=-1).to(value.dtype)
        from_column, from_row = weights.split((rows, columns), dim=-1)
        gathered = torch.einsum("bijk,bckj->bcij", from_column, value)
        return gathered + torch.einsum("bijk,bcik->bcij", from_row, value)

"""Self-attention inside square windows, shifted or not, with a learned bias for relative positions (Liu 2021, Swin).

Shared by Uformer, SCUNet and LoMAE, whose windows differ in their options alone. doi 10.1109/ICCV48922.2021.00986
"""

from __future__ import annotations

import torch
from timm.layers import DropPath, trunc_normal_
from torch import Tensor, nn
from torch.nn import functional


class WindowAttention(nn.Module):
    """Attends within windows of a feature map (batch, rows, columns, channels) whose sides divide by `window`.

    With `shift` the map is rolled by so many positions first; positions that only meet because the roll wraps around
    do not see each other. A map of one window shifts too, so that a block does the same at every image size.
    `modulated` adds a learned vector to each position of every window (Uformer).
    """

    def __init__(
        self, channels: int, heads: int, *, window: int = 8, shift: int = 0, modulated: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide by {heads} heads")
        if not 0 <= shift < window:
            raise ValueError(f"a shift of {shift} is not inside a window of {window}")
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(channels, 3 * channels, bias=bias)
        self.proj = nn.Linear(channels, channels)
        self.relative_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        trunc_normal_(self.relative_bias, std=0.02)
        self.modulator = nn.Parameter(torch.randn(window**2, channels)) if modulated else None
        self._offsets: Tensor
        self.register_buffer("_offsets", _relative_offsets(window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns, channels = x.shape[1:]
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
        tokens = windows_of(x, self.window)
        if self.modulator is not None:
            tokens = tokens + self.modulator
        qkv = self.qkv(tokens).unflatten(-1, (3, self.heads, channels // self.heads))
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5)  # each (batch, windows, heads, positions, channels of a head)
        bias = self._bias(rows, columns).to(query.dtype)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = image_of(self.proj(attended.transpose(2, 3).flatten(3)), rows, columns, self.window)
        return x.roll((self.shift, self.shift), dims=(1, 2)) if self.shift else x

    def _bias(self, rows: int, columns: int) -> Tensor:
        """Return what is added to the attention's logits: (windows or 1, heads, positions, positions)."""
        bias = self.relative_bias[self._offsets].permute(2, 0, 1)[None]
        if not self.shift:
            return bias
        apart = separated(rows, columns, self.window, self.shift, bias.device)
        return bias.masked_fill(apart[:, None], -torch.inf)


class SwinBlock(nn.Module):
    """Window attention, then a two-layer perceptron, each after a layer norm and added to what it was given."""

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        window: int = 8,
        shift: int = 0,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        hidden = int(channels * mlp_ratio)
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window=window, shift=shift)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attention(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def initialise_transformer(module: nn.Module) -> None:
    """Give a linear layer the weights of vision transformers: normal with sd 0.02, cut at ±2, and no bias."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def windows_of(x: Tensor, window: int) -> Tensor:
    """Return (batch, windows, positions, channels) of a map (batch, rows, columns, channels), both row by row."""
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def image_of(windows: Tensor, rows: int, columns: int, window: int) -> Tensor:
    """Return the map (batch, rows, columns, channels) that `windows_of` took apart."""
    x = windows.unflatten(2, (window, window)).unflatten(1, (rows // window, columns // window))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def separated(rows: int, columns: int, window: int, shift: int, device: torch.device | str = "cpu") -> Tensor:
    """Return where two positions of a window are neighbours by the roll alone: (windows, positions, positions)."""

    def side(length: int) -> Tensor:  # after the roll the last `shift` positions are those from the other border
        return (torch.arange(length, device=device) >= length - shift).int()

    region = 2 * side(rows)[:, None] + side(columns)[None]
    region = windows_of(region[None, ..., None], window)[0, ..., 0]
    return region[:, :, None] != region[:, None]


def _relative_offsets(window: int) -> Tensor:
    """Return for each pair of positions the row of the bias table that belongs to their distance."""
    index = torch.arange(window)
    at = torch.cartesian_prod(index, index)
    down, right = (at[:, None] - at[None] + window - 1).unbind(-1)
    return down * (2 * window - 1) + right

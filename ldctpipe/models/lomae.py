"""LoMAE: a window transformer that learns to fill in hidden patches of low-dose slices, then to denoise.

Wang, Han, Xu, Wu, Zhou, Morovati, Yu, IEEE JBHI 2024, doi 10.1109/JBHI.2024.3454979, arXiv 2310.12405. There is no
public code: this is a reconstruction from the abstract, with the body of SwinIR's lightweight network (Liang 2021,
doi 10.1109/ICCVW54120.2021.00210).
"""

from __future__ import annotations

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.padding import pad_to_multiple
from ldctpipe.models.window_attention import SwinBlock, initialise_transformer


class LoMae(nn.Module):
    """Denoises single-channel slices of any size: (batch, 1, rows, columns) in [0, 1] to the same shape.

    Every pixel is a token, and hidden ones stay in the grid as a learned mask token, so that nothing has to change
    between the two trainings: there is no decoder that fine-tuning would have to throw away. `reconstruct`, for the
    training without pairs, draws the image itself, for with the image added it would have nothing to learn at the
    visible pixels; `forward` draws a correction to the image. So each has a last convolution of its own on the same
    features. That of `forward` starts at 0: fine-tuning starts from the low-dose image, whatever was learned before.
    `blocks` counts the blocks of each residual group.
    """

    def __init__(
        self,
        *,
        channels: int = 60,
        blocks: tuple[int, ...] = (6, 6, 6, 6),
        heads: int = 6,
        window: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        self.window = window
        self.head = nn.Conv2d(1, channels, kernel_size=3, padding=1)
        self.mask_token = nn.Parameter(torch.zeros(channels))
        trunc_normal_(self.mask_token, std=0.02)
        self.norm_in = nn.LayerNorm(channels)
        rates = iter(torch.linspace(0, drop_path, sum(blocks), device="cpu").tolist())
        self.groups = nn.ModuleList(
            ResidualGroup(channels, heads, [next(rates) for _ in range(count)], window=window, mlp_ratio=mlp_ratio)
            for count in blocks
        )
        self.norm_out = nn.LayerNorm(channels)
        self.gather = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.tail = nn.Conv2d(channels, 1, kernel_size=3, padding=1)
        self.restoring_tail = nn.Conv2d(channels, 1, kernel_size=3, padding=1)
        self.apply(initialise_transformer)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def forward(self, image: Tensor) -> Tensor:
        return image.float() + self._draw(image, None, self.tail)

    def reconstruct(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the image as drawn from its visible pixels; `mask` is true at the hidden ones, shaped as the image."""
        visible = image.masked_fill(mask, 0)  # the first convolution would see hidden neighbours
        return self._draw(visible, mask, self.restoring_tail)

    def segments(self) -> list[nn.Module]:
        """Return the parts that follow one another, each small beside the whole: for recomputation of activations."""
        return [group.get_submodule("blocks") for group in self.groups]

    def _draw(self, image: Tensor, mask: Tensor | None, tail: nn.Conv2d) -> Tensor:
        rows, columns = image.shape[-2:]
        shallow = self.head(pad_to_multiple(image, self.window)).permute(0, 2, 3, 1)
        if mask is not None:
            hidden = pad_to_multiple(mask.to(shallow.dtype), self.window)[:, 0, ..., None]
            shallow = torch.lerp(shallow, self.mask_token.to(shallow.dtype).expand_as(shallow), hidden)
        x = self.norm_in(shallow)
        for group in self.groups:
            x = group(x)
        deep = self.gather(self.norm_out(x).permute(0, 3, 1, 2))
        return at_full_precision(tail, shallow.permute(0, 3, 1, 2).float() + deep.float())[..., :rows, :columns]


class ResidualGroup(nn.Module):
    """Swin blocks, every second one shifted, and a convolution, added to the map (batch, rows, columns, channels)."""

    def __init__(self, channels: int, heads: int, drop_paths: list[float], *, window: int, mlp_ratio: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                SwinBlock(
                    channels,
                    heads,
                    window=window,
                    shift=window // 2 if number % 2 else 0,
                    mlp_ratio=mlp_ratio,
                    drop_path=rate,
                )
                for number, rate in enumerate(drop_paths)
            )
        )
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.blocks(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

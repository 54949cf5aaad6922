"""Outputs that keep the local mean of their input: noise of CT has next to none, so whatever moves it is a bias."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def with_local_mean_of(image: Tensor, output: Tensor, side: int) -> Tensor:
    """Return `output` less the local mean of what it changes in `image`, both (batch, channels, rows, columns).

    The mean is over a square of `side` pixels, odd, without what lies outside the image.
    """
    change = output - image
    return output - _local_mean(change, side)


def _local_mean(image: Tensor, side: int) -> Tensor:
    """Return the mean over a square around each pixel: first along columns, then along rows."""
    along = {"stride": 1, "count_include_pad": False}
    half = side // 2
    down = functional.avg_pool2d(image, (side, 1), padding=(half, 0), **along)  # type: ignore[arg-type]
    return functional.avg_pool2d(down, (1, side), padding=(0, half), **along)  # type: ignore[arg-type]

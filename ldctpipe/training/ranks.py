"""What the ranks of one training tell each other; with one rank, nothing is sent."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

_AGREE_EVERY = 10  # iterations: asking the others stops the device until they answer


def gather_objects(fabric: Fabric, own: Any) -> list[Any]:
    """Return what each rank gives, in the order of ranks."""
    if fabric.world_size == 1:
        return [own]
    all_of_them: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(all_of_them, own)
    return all_of_them


def mean_over_ranks(fabric: Fabric, scalars: dict[str, Tensor]) -> dict[str, float]:
    """Return the scalars' means over ranks as numbers; waits for the device once."""
    values = torch.stack([value.detach().double() for value in scalars.values()])
    return dict(zip(scalars, fabric.all_reduce(values).tolist(), strict=True))  # type: ignore[union-attr]


def agreed(fabric: Fabric, asked: str | None, iteration: int) -> str | None:
    """Return `asked` of any rank, the same on all; with several ranks they ask each other every ten iterations."""
    if fabric.world_size == 1:
        return asked
    if iteration % _AGREE_EVERY:
        return None
    return next((one for one in gather_objects(fabric, asked) if one), None)


def leave(fabric: Fabric) -> None:
    """Wait for the others and end the group; afterwards no rank can speak to another."""
    if fabric.world_size > 1 and torch.distributed.is_initialized():
        fabric.barrier()
        torch.distributed.destroy_process_group()

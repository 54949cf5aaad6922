"""Augmentation as batched tensor operations, the same for both of a pair (flagship paper, "Data augmentation")."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ldctpipe.data.windows import to_device


@dataclass(frozen=True)
class Transforms:
    """What happens to each patch of a batch; all have shape (batch,), on the CPU."""

    rotate: Tensor  # bool: by the recipe's angle
    flip_rows: Tensor  # bool: upside down
    flip_columns: Tensor  # bool: left to right
    transpose: Tensor  # bool: rows become columns, before any flip
    factor: Tensor  # float: of the values, 1 for none


_BY_COIN = {"mirror", "flips", "turns"}


def draw_transforms(
    batch: int, choices: tuple[str, ...], intensity_factors: tuple[float, ...], generator: torch.Generator
) -> Transforms:
    """Return one of `choices` for each patch, with equal probability, drawn on the CPU from `generator`.

    "flip" is upside down or left to right. The following leave a patch as it is with their share of chance: "mirror"
    is left to right in every second, "flips" each of both directions in every second, "turns" one of the eight ways
    in which flips and quarter turns lay a square.
    """
    choice = torch.randint(len(choices), (batch,), generator=generator)
    upright = torch.rand(batch, generator=generator) < 0.5
    factors = torch.tensor(intensity_factors)[torch.randint(len(intensity_factors), (batch,), generator=generator)]

    def chosen(name: str) -> Tensor:
        return choice == choices.index(name) if name in choices else torch.zeros(batch, dtype=torch.bool)

    coins = torch.zeros(3, batch, dtype=torch.bool)
    if not _BY_COIN.isdisjoint(choices):
        coins = torch.rand(3, batch, generator=generator) < 0.5
    return Transforms(
        rotate=chosen("rotation"),
        flip_rows=(chosen("flip") & upright) | ((chosen("flips") | chosen("turns")) & coins[0]),
        flip_columns=(chosen("flip") & ~upright) | ((chosen("mirror") | chosen("flips") | chosen("turns")) & coins[1]),
        transpose=chosen("turns") & coins[2],
        factor=torch.where(chosen("intensity"), factors, torch.ones(())),
    )


def window_size(patch_size: int, rotation_deg: float) -> int:
    """Return the side of the window that holds a rotated patch with its corners, of the parity of the patch."""
    angle = math.radians(rotation_deg % 90)
    side = math.ceil(patch_size * (math.sin(angle) + math.cos(angle))) + 2  # two for the bilinear neighbours
    return side + (side - patch_size) % 2


def apply_transforms(
    windows: Tensor, transforms: Transforms, patch_size: int, rotation_deg: float, air: float = 0.0
) -> Tensor:
    """Return patches (batch, channels, patch_size, patch_size) from the centres of larger windows in [0, 1].

    Rotation is counter-clockwise about the centre, bilinear, and takes its corners from the surrounding window. The
    factor of the intensity acts on what lies above `air`, the network value of air, which thereby stays air.
    """
    margin = (windows.shape[-1] - patch_size) // 2
    patches = windows[..., margin : margin + patch_size, margin : margin + patch_size].clone()
    # Which patches is known on the CPU: a mask on a GPU would make the CPU wait for the count of its True.
    rotated, transposed, upside_down, mirrored = (
        to_device(mask.nonzero().flatten(), windows.device)
        for mask in (transforms.rotate, transforms.transpose, transforms.flip_rows, transforms.flip_columns)
    )
    patches[rotated] = rotate_windows(windows[rotated], patch_size, rotation_deg)
    patches[transposed] = patches[transposed].transpose(-1, -2)
    patches[upside_down] = patches[upside_down].flip(-2)
    patches[mirrored] = patches[mirrored].flip(-1)
    factor = to_device(transforms.factor, windows.device).view(-1, 1, 1, 1)
    return patches.sub_(air).mul_(factor).add_(air).clamp_(0.0, 1.0)


def rotate_windows(windows: Tensor, patch_size: int, rotation_deg: float) -> Tensor:
    """Return the central patches of windows (batch, channels, side, side), rotated counter-clockwise as shown."""
    angle = math.radians(rotation_deg)
    half = (patch_size - 1) / 2
    steps = torch.arange(patch_size, device=windows.device, dtype=windows.dtype) - half
    row, column = torch.meshgrid(steps, steps, indexing="ij")
    # Where each output pixel comes from, in pixels from the centre; rows count downwards.
    source_column = column * math.cos(angle) - row * math.sin(angle)
    source_row = column * math.sin(angle) + row * math.cos(angle)
    scale = 2 / windows.shape[-1]  # grid_sample's coordinates run from −1 to 1 over the window's outer edges
    grid = (torch.stack((source_column, source_row), dim=-1) * scale).expand(len(windows), -1, -1, -1)
    return functional.grid_sample(windows, grid, mode="bilinear", padding_mode="border", align_corners=False)

"""Reorders the rows and columns of a volume like another's: NIfTI and DICOM store one grid in opposite orders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.volume import Volume

_DIRECTION_TOLERANCE_MM = 1e-3
_STEP_TOLERANCE_MM = 1e-3


def in_order_of(volume: Volume, like: Volume) -> Volume:
    """Return `volume` with its axes flipped and exchanged so that columns and rows run as those of `like`.

    No value changes and nothing is resampled: the affine tells where each voxel lies, before and after. HU are a view.
    Returns it unchanged if its order already agrees, or if no exchange of whole axes achieves that.
    """
    found = [_axis(volume.affine, like.affine[:3, axis]) for axis in (0, 1)]
    if None in found or found == [(0, False), (1, False)]:
        return volume
    (column, turns_columns), (row, turns_rows) = (each for each in found if each is not None)
    if column == row:
        return volume
    (step,) = {0, 1, 2} - {column, row}
    if step != 2 and not _is_even(volume):
        return volume
    order, turned = (column, row, step), (turns_columns, turns_rows, False)
    return _in_order(volume, order, turned)


def _axis(affine: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> tuple[int, bool] | None:
    """Which axis of `affine` steps as `wanted` does, and whether it does so backwards."""
    for axis in range(3):
        for turned in (False, True):
            step = -affine[:3, axis] if turned else affine[:3, axis]
            if np.allclose(step, wanted, rtol=0, atol=_DIRECTION_TOLERANCE_MM):
                return axis, turned
    return None


def _is_even(volume: Volume) -> bool:
    return bool(np.ptp(np.diff(volume.positions_mm)) < _STEP_TOLERANCE_MM) if len(volume.hu) > 2 else True


def _in_order(volume: Volume, order: tuple[int, int, int], turned: tuple[bool, bool, bool]) -> Volume:
    """Axes count as in the affine: column, row, slice, which are the array's 2, 1, 0."""
    sizes = volume.hu.shape[::-1]
    affine = volume.affine.copy()
    for new, (old, is_turned) in enumerate(zip(order, turned, strict=True)):
        affine[:3, new] = -volume.affine[:3, old] if is_turned else volume.affine[:3, old]
        if is_turned:
            affine[:3, 3] += volume.affine[:3, old] * (sizes[old] - 1)
    transposed = tuple(2 - axis for axis in reversed(order))
    flips = tuple(slice(None, None, -1 if is_turned else None) for is_turned in reversed(turned))
    hu = volume.hu.transpose(transposed)[flips]
    moved = order[2] != 2
    positions_mm = np.arange(len(hu), dtype=np.float64) * _step_mm(affine) if moved else volume.positions_mm
    padding = None if volume.padding is None else _turned_padding(volume.padding, transposed, flips, moved)
    return replace(volume, hu=hu, affine=affine, positions_mm=positions_mm, padding=padding)


def _step_mm(affine: npt.NDArray[np.float64]) -> float:
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return float(abs(affine[:3, 2] @ normal) / np.linalg.norm(normal))


def _turned_padding(padding: Padding, transposed: tuple[int, ...], flips: tuple[slice, ...], moved: bool) -> Padding:
    if moved:
        return Padding.of(padding[:].transpose(transposed)[flips])
    in_plane = tuple(axis - 1 for axis in transposed[1:])
    slices, rows, columns = padding.shape
    shape = (slices, *((rows, columns)[axis] for axis in in_plane))
    turned = Padding.none((shape[0], shape[1], shape[2]))
    for index in range(slices):  # one at a time: unpacked, the whole would take as much as the HU
        turned.mark(index, padding[index].transpose(in_plane)[flips[1:]])
    return turned

"""HU and maps to 8-bit pixels: the grey window, the warm scale of maps, one laid over the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SOFT_WINDOW_HU = (-160.0, 240.0)
HEAT_SHARE = 0.6  # of the map in an overlay: anatomy stays recognisable, and colours can be told apart

Pixels = npt.NDArray[np.uint8]

# Equal steps along "inferno" (van der Walt and Smith, CC0): warmer and lighter is higher, also without colour vision.
_HEAT = (
    0x000004, 0x160B39, 0x420A68, 0x6A176E, 0x932667, 0xBC3754, 0xDD513A, 0xF37819, 0xFCA50A, 0xF6D746, 0xFCFFA4,
)  # fmt: skip


def grey(hu: npt.NDArray[Any], window_hu: tuple[float, float] = SOFT_WINDOW_HU) -> Pixels:
    """Return 8-bit grey values of HU under a window."""
    low, high = window_hu
    return np.asarray(np.rint((np.clip(hu, low, high) - low) * (255 / (high - low))), dtype=np.uint8)


def heat(values: npt.NDArray[Any]) -> Pixels:
    """Return RGB (…, 3) of values in [0, 1]: dark for 0, over red to light yellow for 1."""
    return _scale()[np.rint(values * 255).astype(np.intp)]


def heat_over(background: Pixels, values: npt.NDArray[Any], where: npt.NDArray[np.bool_] | None = None) -> Pixels:
    """Return RGB (rows, columns, 3) of a map in [0, 1] laid over grey values; bare grey outside of `where`."""
    plain = background[..., np.newaxis].repeat(3, axis=-1)
    mixed = np.rint(HEAT_SHARE * heat(values) + (1 - HEAT_SHARE) * plain).astype(np.uint8)
    return mixed if where is None else np.where(where[..., np.newaxis], mixed, plain)


def _scale() -> Pixels:
    """The 256 colours of the warm scale, (256, 3)."""
    stops = np.array([[colour >> 16, colour >> 8 & 255, colour & 255] for colour in _HEAT])
    at = np.linspace(0, len(_HEAT) - 1, 256)
    channels = [np.interp(at, np.arange(len(_HEAT)), channel) for channel in stops.T]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)

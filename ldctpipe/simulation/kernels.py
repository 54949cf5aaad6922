"""What the reconstruction kernels of the vendors do to noise: their apodisation A(f), in cycles per mm.

Every kernel is a Hann window A(f) = (1 + cos(π f / cutoff)) / 2 on the ramp filter, in physical units: the same
kernel has the same A whatever the pixel size. Two cutoffs are known (Siemens B30 and D45, from the FDA's LCD_CT model
of a Force scanner: 0.85 and 2.05 of the Nyquist frequency 0.912/mm); the others are placed between and around these
by the order of sharpness in which the vendors list them, and are estimates.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import torch

DEFAULT_CUTOFF_PER_MM = 0.775

_SIEMENS_NUMBERS = (10, 20, 30, 40, 50, 60, 70, 80)
_SIEMENS_CUTOFFS_PER_MM = (0.56, 0.66, 0.775, 0.95, 1.25, 1.55, 1.87, 2.1)
_NAMED_CUTOFFS_PER_MM = {
    # Siemens, dual-source "D" family: sharper than B of the same number
    "D30": 0.775,
    "D45": 1.87,
    # GE
    "SOFT": 0.68,
    "STANDARD": 0.775,
    "STND": 0.775,
    "CHST": 0.85,
    "DETAIL": 1.0,
    "LUNG": 1.4,
    "BONE": 1.5,
    "BONEPLUS": 1.75,
    "EDGE": 2.0,
    # Philips; the body kernels of newer models have a Y, U or E before the same letter
    "A": 0.66,
    "B": 0.775,
    "C": 0.95,
    "D": 1.3,
    "L": 1.45,
    "E": 1.6,
}
_CANON_CUTOFFS_PER_MM = {0: 0.72, 1: 0.8, 2: 0.8, 3: 1.5, 4: 0.95, 5: 1.4, 6: 0.95, 7: 0.95, 8: 1.75}
_NOT_FBP = re.compile(r"^[IJ]\d\d|ADMIRE|SAFIRE|ASIR|VEO|IDOSE|IMR|AIDR|FIRST|AICE|TRUEFIDELITY|DLIR", re.IGNORECASE)


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel: its name in the header, its Hann cutoff, and how far that can be trusted."""

    name: str | None
    cutoff_per_mm: float
    known: bool
    iterative: bool


def match_kernel(name: str | None) -> Kernel:
    """Return the kernel that ConvolutionKernel (0018,1210) `name` means; unknown names get a medium-soft one (B30)."""
    text = (name or "").strip().upper()
    cutoff_per_mm = _cutoff_per_mm(text.split("\\")[0].split(" ")[0])
    iterative = bool(_NOT_FBP.search(text))
    return Kernel(name, cutoff_per_mm or DEFAULT_CUTOFF_PER_MM, cutoff_per_mm is not None, iterative)


def _cutoff_per_mm(name: str) -> float | None:
    if name in _NAMED_CUTOFFS_PER_MM:
        return _NAMED_CUTOFFS_PER_MM[name]
    if canon := re.match(r"^FC(\d)\d", name):
        return _CANON_CUTOFFS_PER_MM.get(int(canon[1]), DEFAULT_CUTOFF_PER_MM)
    if siemens := re.match(r"^[A-Z]{1,2}(\d\d)", name):
        return float(np.interp(int(siemens[1]), _SIEMENS_NUMBERS, _SIEMENS_CUTOFFS_PER_MM))
    if philips := re.match(r"^[YUE]([A-EL])$", name):
        return _NAMED_CUTOFFS_PER_MM[philips[1]]
    return None


def apodisation(frequencies_per_mm: torch.Tensor, cutoff_per_mm: float) -> torch.Tensor:
    """Return A(f) of the Hann window with `cutoff_per_mm`: 1 at frequency 0, 0 at the cutoff and beyond."""
    return 0.5 * (1.0 + torch.cos(math.pi * (frequencies_per_mm / cutoff_per_mm).clamp(max=1.0)))

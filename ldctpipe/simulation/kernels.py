"""What the reconstruction kernels of the vendors do to noise: their apodisation A(f), in cycles per mm.

Every kernel is a power of a Hann window on the ramp filter, A(f) = ((1 + cos(π f / f₀)) / 2)^power, in physical units:
the same kernel has the same A whatever the pixel size. `cutoff` is twice the frequency where A is 1/2. With power 1
that is f₀, where a Hann window ends; higher powers have longer tails and come close to a Gaussian. Two cutoffs are
known (Siemens B30 and D45, from the FDA's LCD_CT model of a Force scanner: 0.85 and 2.05 of the Nyquist frequency
0.912/mm); the others are placed between and around these by the order of sharpness in which the vendors list them, and
are estimates: a prior for the fit of `simulation/kernel_fit.py` to the noise of the series itself. Kernels that lift
high frequencies are the same window times 1 + g f².
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import torch

DEFAULT_CUTOFF_PER_MM = 0.775
TABLE_UNCERTAINTY = 0.25
"""Relative standard uncertainty of a cutoff in the table: scanners of one vendor differ under one name."""
UNKNOWN_UNCERTAINTY = 0.5
TABLE_WINDOW_POWER = 2.0
"""Power of the window for kernels that the noise does not show: real ones lie between a Hann window and a Gaussian."""
WIDEST_PIXEL_MM = 1.0
"""Scanners reconstruct at most 500 mm on 512 pixels; wider pixels were resampled."""

_DETECTOR_NYQUIST_PER_MM = 0.912  # channels of 1 mm at 1085.6 mm, 595 mm from the focus to the isocentre (LCD_CT)

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
    "STD": 0.775,
    "STD+": 0.85,
    "CHST": 0.85,
    "CHST+": 0.9,
    "DETAIL": 1.0,
    "LUNG": 1.4,
    "BONE": 1.5,
    "BONEPLUS": 1.75,
    "EDGE": 2.0,
    "ULTRA": 2.0,
    # Philips; the body kernels of newer models have a Y, U or E before the same letter
    "BRAIN": 0.775,
    "SMOOTH": 0.66,
    "SHARP": 1.45,
    "A": 0.66,
    "B": 0.775,
    "C": 0.95,
    "D": 1.3,
    "L": 1.45,
    "E": 1.6,
}
_PHILIPS_LETTER = re.compile(r"^(?:Y|U|E|IP)([A-EL])$")
_CANON = re.compile(r"^F[CL](\d)(\d)")
# FC01–FC18 body, FC20s head, FC30s bone, FC40s head, FC50s lung, FC80s high resolution.
_CANON_CUTOFFS_PER_MM = {0: 0.72, 1: 0.8, 2: 0.8, 3: 1.5, 4: 0.95, 5: 1.4, 6: 0.95, 7: 0.95, 8: 1.75}
_SIEMENS = re.compile(r"^[A-Z]{1,2}(\d\d)")
_NOT_FBP = re.compile(
    r"^[IJ]\d\d|\bQR\d\d|ADMIRE|SAFIRE|\bIRIS\b|ASIR|\bVEO\b|I-?DOSE|\bIMR\b|AIDR|"
    r"FIRST (?:BODY|LUNG|BRAIN|CARDIAC|BONE)|\bAICE|TRUE ?FIDELITY|\bDLI?R\b|PRECISE IMAGE|PRECISEIMAGE|CLEARVIEW|"
    r"CLEAR ?INFINITY|ADVANCED INTELLIGENT|ITERATIVE|DEEP ?LEARNING|\bQIR\b|\bDELTA\b|KARL",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel: its name in the header, its Hann cutoff with its relative uncertainty.

    `known` tells whether the table has it; `iterative` whether the header names a reconstruction that is not filtered
    back-projection.
    """

    name: str | None
    cutoff_per_mm: float
    known: bool
    iterative: bool

    @property
    def uncertainty(self) -> float:
        """How far the cutoff can be trusted before the series is looked at (relative standard uncertainty)."""
        return TABLE_UNCERTAINTY if self.known else UNKNOWN_UNCERTAINTY


def match_kernel(name: str | None) -> Kernel:
    """Return the kernel that ConvolutionKernel (0018,1210) `name` means; unknown names get a medium-soft one (B30)."""
    text = (name or "").strip().upper()
    cutoff_per_mm = _cutoff_per_mm(text)
    return Kernel(name, cutoff_per_mm or DEFAULT_CUTOFF_PER_MM, cutoff_per_mm is not None, is_iterative(text))


def is_iterative(text: str) -> bool:
    """Tell whether words of a header name iterative or learned reconstruction, of any vendor."""
    return bool(_NOT_FBP.search(text))


def _cutoff_per_mm(text: str) -> float | None:
    """Return the cutoff of the first value of `text` ("I30f/3"), or of its words that have a name of their own."""
    first = re.split(r"[\\/]", text)[0].strip()
    words = [word for word in first.split(" ") if word not in ("HD", "BODY", "HEAD")]
    for word in [first, *words]:
        if cutoff_per_mm := _cutoff_of_word(word):
            return cutoff_per_mm
    return None


def _cutoff_of_word(name: str) -> float | None:
    if name in _NAMED_CUTOFFS_PER_MM:
        return _NAMED_CUTOFFS_PER_MM[name]
    if philips := _PHILIPS_LETTER.match(name):
        return _NAMED_CUTOFFS_PER_MM[philips[1]]
    if canon := _CANON.match(name):
        return _canon_cutoff_per_mm(int(canon[1]), int(canon[2]))
    if siemens := _SIEMENS.match(name):
        if siemens[0] in _NAMED_CUTOFFS_PER_MM:
            return _NAMED_CUTOFFS_PER_MM[siemens[0]]
        return float(np.interp(int(siemens[1]), _SIEMENS_NUMBERS, _SIEMENS_CUTOFFS_PER_MM))
    return None


def _canon_cutoff_per_mm(tens: int, ones: int) -> float:
    """Within each group of ten the kernels get sharper by number."""
    return round(_CANON_CUTOFFS_PER_MM.get(tens, DEFAULT_CUTOFF_PER_MM) * (0.94 + 0.015 * ones), 4)


def apodisation(
    frequencies_per_mm: torch.Tensor, cutoff_per_mm: float, edge_boost: float = 0.0, window_power: float = 1.0
) -> torch.Tensor:
    """Return A(f): a Hann window to `window_power` that is 1/2 at `cutoff_per_mm` / 2, × (1 + `edge_boost` · f²).

    `edge_boost` is in mm². A(0) is 1.
    """
    window = 0.5 * (
        1.0 + torch.cos(math.pi * (frequencies_per_mm / end_per_mm(cutoff_per_mm, window_power)).clamp(max=1.0))
    )
    return window**window_power * (1.0 + edge_boost * frequencies_per_mm**2)


def highest_per_mm(pixel_mm: float) -> float:
    """Return the frequency where the noise of a scan ends: the detector's limit, or the pixels' if that is higher."""
    return max(_DETECTOR_NYQUIST_PER_MM if pixel_mm <= WIDEST_PIXEL_MM else 0.0, 0.5 / pixel_mm)


def end_per_mm(cutoff_per_mm: float, window_power: float) -> float:
    """Return the frequency at which a window of `window_power` reaches 0."""
    if window_power == 1.0:
        return cutoff_per_mm
    return cutoff_per_mm * 0.25 * math.pi / math.acos(0.5 ** (0.5 / window_power))

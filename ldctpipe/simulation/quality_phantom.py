"""Image-quality phantoms: water cylinders with inserts of known place, size and HU, the same in every slice.

The low-contrast module has the inserts of the CCT189 (MITA) module as the FDA's LCD_CT describes it: 3 mm at 14 HU,
5 mm at 7, 7 mm at 5 and 10 mm at 3, 40 mm from the middle. The contrast discs are like those of a CTP404 module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ldctpipe.errors import UsageError
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.phantom import blur
from ldctpipe.simulation.phantom_choices import Kind

_FINE = 5  # fine pixels along one of the image's; odd, so that each pixel's middle is that of a fine one
_AIR_HU = -1000.0
_BAR_LENGTH_MM = 10.0
_FIELD_OF_VIEW_SHARE = 1.1


@dataclass(frozen=True)
class Disc:
    """A cylinder along z of `diameter_mm` with `hu` inside; x grows to the left of the patient, y to the back."""

    kind: str
    x_mm: float
    y_mm: float
    diameter_mm: float
    hu: float

    @property
    def reach_mm(self) -> float:
        """How far it extends from its middle."""
        return self.diameter_mm / 2

    def coverage(self, x: Image, y: Image, pixel_mm: float) -> Image:
        """Return the share of each pixel inside; the shares add up to the area of the disc."""
        distance = np.hypot(x[None] - self.x_mm, y[:, None] - self.y_mm) - self.diameter_mm / 2
        share = np.clip(0.5 - distance / pixel_mm, 0.0, 1.0)
        exact: Image = share * (math.pi * self.diameter_mm**2 / 4 / (share.sum() * pixel_mm**2))
        return exact


@dataclass(frozen=True)
class LinePairs:
    """`bars` bars of `hu`, as wide as the gaps between them, `per_cm` pairs of bar and gap in a centimetre."""

    kind: str
    x_mm: float
    y_mm: float
    per_cm: float
    bars: int
    hu: float

    @property
    def diameter_mm(self) -> float:
        """Width of one bar."""
        return 5.0 / self.per_cm

    @property
    def reach_mm(self) -> float:
        """How far it extends from its middle."""
        return math.hypot((self.bars - 0.5) * self.diameter_mm, _BAR_LENGTH_MM / 2)

    def coverage(self, x: Image, y: Image, pixel_mm: float) -> Image:
        """Return the share of each pixel that a bar covers; exact."""
        first = self.x_mm - (self.bars - 1) * self.diameter_mm
        across = sum(
            _overlap(x, first + 2 * number * self.diameter_mm, self.diameter_mm, pixel_mm)
            for number in range(self.bars)
        )
        down = _overlap(y, self.y_mm, _BAR_LENGTH_MM, pixel_mm)
        share: Image = down[:, None] * np.asarray(across)[None]
        return share


def _overlap(line: Image, middle: float, width: float, pixel_mm: float) -> Image:
    upper = np.minimum(line + pixel_mm / 2, middle + width / 2)
    lower = np.maximum(line - pixel_mm / 2, middle - width / 2)
    share: Image = np.clip((upper - lower) / pixel_mm, 0.0, 1.0)
    return share


Feature = Disc | LinePairs


@dataclass(frozen=True)
class QualityPhantom:
    """A cylinder of `background_hu` around the isocentre, with features that don't touch."""

    name: str
    diameter_mm: float
    features: tuple[Feature, ...] = ()
    background_hu: float = 0.0

    def pixel_mm(self, size: int) -> float:
        """Return the pixel spacing of images of `size` pixels that show the whole phantom."""
        return round(self.diameter_mm * _FIELD_OF_VIEW_SHARE / size, 6)

    def of_diameter(self, diameter_mm: float | None) -> QualityPhantom:
        """Return the phantom with a cylinder of `diameter_mm` (None: its own).

        Raises `UsageError` where a feature would stick out, or the cylinder would be wider than a scanner's opening.
        """
        reach = max((math.hypot(f.x_mm, f.y_mm) + f.reach_mm for f in self.features), default=20.0)
        least_mm, most_mm = 2 * (reach + 5.0), 450.0
        if diameter_mm is not None and not least_mm <= diameter_mm <= most_mm:
            fault = f"a diameter of {diameter_mm:g} mm doesn't do for phantom {self.name}"
            raise UsageError(None, fault, f"give one from {least_mm:.0f} to {most_mm:.0f} mm")
        return self if diameter_mm is None else replace(self, diameter_mm=diameter_mm)

    def noise_free(self, size: int, cutoff_per_mm: float) -> Image:
        """Return the phantom as a scanner without noise sees it, float32 HU of shape (size, size).

        Drawn on a fine grid, blurred with the kernel's apodisation, and taken at the middle of each pixel.
        """
        fine_mm = self.pixel_mm(size) / _FINE
        line = (np.arange(size * _FINE, dtype=np.float64) - (size * _FINE - 1) / 2) * fine_mm
        body = Disc("body", 0.0, 0.0, self.diameter_mm, self.background_hu)
        hu = (_AIR_HU + body.coverage(line, line, fine_mm) * (self.background_hu - _AIR_HU)).astype(np.float32)
        for feature in self.features:
            columns, rows = (_within(line, middle, feature.reach_mm) for middle in (feature.x_mm, feature.y_mm))
            share = feature.coverage(line[columns], line[rows], fine_mm)
            hu[rows, columns] += (share * (feature.hu - self.background_hu)).astype(np.float32)
        return np.ascontiguousarray(blur(hu, fine_mm, cutoff_per_mm)[_FINE // 2 :: _FINE, _FINE // 2 :: _FINE])


def _within(line: Image, middle: float, reach_mm: float) -> slice:
    first, last = np.searchsorted(line, (middle - reach_mm - 1.0, middle + reach_mm + 1.0))
    return slice(int(first), int(last))


def _ring(radius_mm: float, first_deg: float, count: int) -> list[tuple[float, float]]:
    angles = np.deg2rad(first_deg + 360.0 / count * np.arange(count))
    return [(round(float(radius_mm * np.cos(a)), 4), round(float(radius_mm * np.sin(a)), 4)) for a in angles]


def _discs(
    kind: str, places: Sequence[tuple[float, float]], sizes_and_hu: Sequence[tuple[float, float]]
) -> tuple[Disc, ...]:
    return tuple(Disc(kind, *place, *values) for place, values in zip(places, sizes_and_hu, strict=True))


_LOW_CONTRAST = _discs("low-contrast disc", _ring(40.0, 45.0, 4), ((3.0, 14.0), (5.0, 7.0), (7.0, 5.0), (10.0, 3.0)))
_CONTRAST_HU = (-1000.0, -100.0, -35.0, 120.0, 340.0, 990.0)
_CONTRASTS = _discs("contrast disc", _ring(58.4, 0.0, 6), [(20.0, hu) for hu in _CONTRAST_HU])
_BARS = (2, 3, 4, 4, 5, 5, 5, 5, 5, 5)
_LINE_PAIRS = tuple(
    LinePairs("line pairs", *place, float(per_cm), bars, 1000.0)
    for per_cm, (place, bars) in enumerate(zip(_ring(60.0, -90.0, 10), _BARS, strict=True), start=1)
)
_WIRE = Disc("wire", 10.3, -7.1, 0.28, 29_000.0)  # tungsten; off the pixel grid, so that its image samples the PSF
# Only the noise and streaks of starved rays are those of metal: beam hardening and scatter are not modelled.
_METALS = (
    Disc("titanium", -60.0, 0.0, 20.0, 4000.0),
    Disc("titanium", 0.0, 60.0, 8.0, 4000.0),
    Disc("steel", 60.0, 0.0, 8.0, 9000.0),
)

PHANTOMS = {
    Kind.LOW_CONTRAST: (QualityPhantom("present", 200.0, _LOW_CONTRAST), QualityPhantom("absent", 200.0)),
    Kind.RESOLUTION: (
        QualityPhantom("lines", 200.0, (*_LINE_PAIRS, _WIRE)),
        QualityPhantom("contrasts", 200.0, _CONTRASTS),
    ),
    Kind.CT_NUMBER: (QualityPhantom("contrasts", 200.0, _CONTRASTS),),
    Kind.WATER: (QualityPhantom("water", 300.0),),
    Kind.METAL: (QualityPhantom("metal", 300.0, _METALS),),
}

"""The reconstruction kernel of a series, found in the texture of its noise.

Noise that went through the same patient but through the plain ramp filter has the power P₀(f) in a window; the series
has P₀(f) · A(f)² up to a factor, because a kernel filters all directions alike. So the ratio of the two, over windows
of even tissue, shows A(f)² with the window and the high-pass taken out. The model has three more parts: what rounding
to whole HU adds (1/12 HU² at all frequencies), anatomy, whose power falls as f⁻³ (Burgess 1999, J Opt Soc Am A 16:633)
and so as f⁻⁴ over P₀ ∝ f, and noise beyond the pixels' Nyquist frequency, which folds back.

The window's power is fitted too: with a Hann window alone the tail of a real kernel would have to be left out, and the
mean frequency of the noise would come out 5 to 10 % too low.

The table of kernels is the prior; the fit moves away from it as far as the noise has hold.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import torch

from ldctpipe.simulation.images import Image
from ldctpipe.simulation.kernels import TABLE_WINDOW_POWER, Kernel, apodisation, highest_per_mm
from ldctpipe.simulation.noise import NoiseModel
from ldctpipe.simulation.radial_spectrum import ROUNDING_HU2, WINDOW_OVERLAP, hann_taper, radial_rings
from ldctpipe.simulation.randomness import generator
from ldctpipe.simulation.tissue_windows import Tissue, high_passed

WINDOWS_MM = (18.0, 12.0)  # the second where too few of the first hold nothing but tissue
_SMALLEST_WINDOW = 16
_LEAST_SHARE = 0.7
_QUANTILE = 0.3
FEWEST_WINDOWS = 12
_LOWEST_PER_MM = 0.15  # below it vessels and texture are stronger than noise
_HIGHEST_OF_NYQUIST = 0.92  # above it resampling and the corners of the grid differ between scanners
_FEWEST_BINS = 4
_LEAKAGE = 3e-4  # what windows let through beyond the cutoff, of the power below it
_ANATOMY = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)  # power of anatomy over that of noise at _ANATOMY_PER_MM
_ANATOMY_PER_MM = 0.2
_ROUNDING_SEEN = 0.05  # of the power
_ROUNDINGS = (1.0, 2.0, 4.0)  # scanners round between steps, too
_MODEL_ERROR = 0.06
_CUTOFFS_PER_MM = np.geomspace(0.3, 3.2, 90)
_WINDOW_POWERS = (0.6, 1.0, 1.5, 2.5, 4.0, 8.0)
_POWERS_OF_BOOSTED = (1.0, 2.5)
_POWER_UNCERTAINTY = 1.0  # of its logarithm, around that of the table
_DIRECTIONS = 16
_EDGE_BOOSTS_MM2 = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0)
_WORTH_A_BOOST = 9.0
_RESAMPLED = 40
_OF_NO_HOLD = 0.3

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spectra:
    """Noise power by frequency in the windows of one slice, HU² a pixel.

    `series` has shape (windows, frequencies), `trials` (realisations, windows, frequencies): simulated without kernel.
    """

    frequencies_per_mm: _Values
    series: _Values
    trials: _Values


@dataclass(frozen=True)
class KernelFit:
    """A kernel as the noise shows it: cutoff, edge boost, window power, the cutoff's relative standard uncertainty.

    `measured_per_mm` is what the noise alone says, without the prior; None where it has no hold. `windows` counts what
    was looked at.
    """

    cutoff_per_mm: float
    edge_boost: float
    window_power: float
    uncertainty: float
    measured_per_mm: float | None
    windows: int
    warnings: tuple[str, ...]

    def applied(self, model: NoiseModel) -> NoiseModel:
        """Return `model` with this kernel, sampled finely enough for it."""
        cutoff_per_mm, boost, power = self.cutoff_per_mm, self.edge_boost, self.window_power
        return replace(model, cutoff_per_mm=cutoff_per_mm, edge_boost=boost, window_power=power).sampled()


def measured_spectra(hu: Image, trials: Sequence[Image], tissue: Tissue, window_mm: float) -> Spectra | None:
    """Return the spectra of a slice and of simulated noise in the same windows; None where no window is even."""
    side = max(_SMALLEST_WINDOW, 2 * round(window_mm / 2 / tissue.pixel_mm))
    corners = _corners(tissue, side)
    if not len(corners):
        return None
    frequencies, binning = _radial_bins(side, tissue.pixel_mm)
    soft_edge = scipy.ndimage.gaussian_filter(tissue.inside.astype(np.float32), 1.0)
    weights = _cut(soft_edge, corners, side) * hann_taper(side)

    def power(image: Image) -> _Values:
        parts = _cut(high_passed(image, tissue.pixel_mm), corners, side) * weights
        spectrum = np.abs(np.fft.fft2(parts)) ** 2 / (weights**2).sum(axis=(1, 2))[:, None, None]
        binned: _Values = spectrum.reshape(len(corners), -1) @ binning
        return binned + 1e-12

    return Spectra(frequencies, power(hu), np.stack([power(trial) for trial in trials]))


def fit_kernel(spectra: Sequence[Spectra], prior: Kernel, pixel_mm: float, *, rounded: bool) -> KernelFit:
    """Return the kernel of a series from the spectra of some of its slices; `rounded` says that HU are whole numbers.

    Falls back on `prior`, with a warning, where there are too few windows, or where nothing of the window's slope lies
    within what the pixels resolve.
    """
    windows = sum(len(one.series) for one in spectra)
    if windows < FEWEST_WINDOWS:
        return _of_table(prior, windows, "found too little even tissue to fit the kernel")
    curve = _Curve.of(spectra, pixel_mm, rounded)
    if len(curve.frequencies_per_mm) < _FEWEST_BINS:
        return _of_table(prior, windows, f"pixels of {pixel_mm:g} mm don't resolve the kernel's noise")
    return _combined(curve, prior, windows)


@dataclass(frozen=True)
class _Curve:
    """Logarithm of A² up to a constant, by frequency, with its standard error; `floor` is rounding over P₀.

    `sources` are the frequencies whose noise the pixels show at each of `frequencies_per_mm`: (frequencies, sources).
    """

    frequencies_per_mm: _Values
    log_ratio: _Values
    error: _Values
    floor: _Values
    sources: _Values

    @classmethod
    def of(cls, spectra: Sequence[Spectra], pixel_mm: float, rounded: bool) -> _Curve:
        frequencies = spectra[0].frequencies_per_mm
        kept = (frequencies > _LOWEST_PER_MM) & (frequencies < _HIGHEST_OF_NYQUIST * 0.5 / pixel_mm)
        series = np.concatenate([one.series for one in spectra])[:, kept]
        trials = np.concatenate([one.trials for one in spectra], axis=1)[:, :, kept]
        ratio, error = _log_ratio(series, trials)
        level = np.median(trials.mean(axis=0), axis=0)
        floor = (ROUNDING_HU2 if rounded else 0.0) / level
        return cls(frequencies[kept], ratio, error, floor, _sources(frequencies[kept], pixel_mm))

    @property
    def _roundings(self) -> tuple[float, ...]:
        return _ROUNDINGS if (self.floor / np.exp(self.log_ratio)).max() > _ROUNDING_SEEN else (1.0,)

    def misfit(self, cutoffs_per_mm: _Values, edge_boost: float, window_power: float) -> _Values:
        """Return χ² for every cutoff, at the best factor, share of anatomy and rounding."""
        window = self.power(cutoffs_per_mm, edge_boost, window_power)
        shapes = window + _LEAKAGE * window.max(axis=1, keepdims=True)
        at = np.argmin(np.abs(self.frequencies_per_mm - _ANATOMY_PER_MM))
        anatomy = shapes[:, at, None] * (self.frequencies_per_mm / _ANATOMY_PER_MM) ** -4
        best: _Values = np.min(
            [self._misfit_of(shapes + share * anatomy, times) for share in _ANATOMY for times in self._roundings],
            axis=0,
        )
        return best

    def power(self, cutoffs_per_mm: _Values, edge_boost: float, window_power: float) -> _Values:
        """Return the noise over that of the ramp alone for every cutoff (rows) and frequency (columns)."""
        squared = apodisation_squared(self.sources, cutoffs_per_mm, edge_boost, window_power)
        folded: _Values = (squared * self.sources).sum(axis=-1) / (_DIRECTIONS * self.frequencies_per_mm)
        return folded

    def _misfit_of(self, shapes: _Values, roundings: float) -> _Values:
        guess = np.median(self.log_ratio - np.log(shapes), axis=1)
        factors = guess[:, None] + np.linspace(-1.2, 1.2, 41)
        model = np.log(np.exp(factors)[:, :, None] * shapes[:, None] + roundings * self.floor)
        residual = ((self.log_ratio - model) / self.error) ** 2
        total: _Values = (residual / (1.0 + residual / 25.0)).sum(axis=-1)  # a stray frequency must not decide
        return total.min(axis=1)


def apodisation_squared(
    frequencies_per_mm: _Values, cutoffs_per_mm: _Values, edge_boost: float, window_power: float
) -> _Values:
    """Return A² for every cutoff (first axis) and frequency (all others)."""
    frequencies = torch.from_numpy(frequencies_per_mm)
    windows = [apodisation(frequencies, float(cutoff), edge_boost, window_power) for cutoff in cutoffs_per_mm]
    return torch.stack(windows).numpy() ** 2


def _sources(frequencies_per_mm: _Values, pixel_mm: float) -> _Values:
    """Return the frequencies that point sampling shows at each frequency, in all directions; 0 stands for none."""
    angles = (np.arange(_DIRECTIONS) + 0.5) * (0.25 * math.pi / _DIRECTIONS)  # the others mirror these
    across, down = (np.outer(frequencies_per_mm, wave(angles))[:, :, None] for wave in (np.cos, np.sin))
    places = np.array([(column, row) for column in (0, -1, 1) for row in (0, -1, 1)]) / pixel_mm
    moduli: _Values = np.hypot(across + places[:, 0], down + places[:, 1])
    moduli[moduli > min(highest_per_mm(pixel_mm), 1.0 / pixel_mm)] = 0.0
    return moduli.reshape(len(frequencies_per_mm), -1)


def _log_ratio(series: _Values, trials: _Values) -> tuple[_Values, _Values]:
    """Return the typical logarithm of series over simulation by frequency, with its standard error over windows.

    A low quantile, because an edge in a window only ever adds power. Single realisations against the others take out
    what the quantile of few degrees of freedom is off.
    """
    count = len(trials)
    others = [(trials.sum(axis=0) - trial) / (count - 1) for trial in trials]
    logs = np.mean([np.log(series / other) for other in others], axis=0)
    offset = np.mean([_typical(np.log(trial / other)) for trial, other in zip(trials, others, strict=True)], axis=0)
    draws = generator("windows").integers(0, len(logs), (_RESAMPLED, len(logs)))
    error = np.std([_typical(logs[draw]) for draw in draws], axis=0) * WINDOW_OVERLAP
    return _typical(logs) - offset, np.hypot(error, _MODEL_ERROR)


def _typical(logs: _Values) -> _Values:
    quantile: _Values = np.quantile(logs, _QUANTILE, axis=0)
    return quantile


def _combined(curve: _Curve, prior: Kernel, windows: int) -> KernelFit:
    boost, power = _shape(curve)
    misfit = curve.misfit(_CUTOFFS_PER_MM, boost, power)
    logs = np.log(_CUTOFFS_PER_MM)
    surprise = max(1.0, misfit.min() / max(1, len(curve.frequencies_per_mm) - 2))
    likelihood = np.exp(-0.5 * (misfit - misfit.min()) / surprise)
    alone, alone_error = _moments(logs, likelihood)
    pull = np.exp(-0.5 * ((logs - math.log(prior.cutoff_per_mm)) / prior.uncertainty) ** 2)
    place, error = _moments(logs, likelihood * pull)
    measured = math.exp(alone) if alone_error < _OF_NO_HOLD else None
    warnings = _doubts(prior, measured, math.hypot(alone_error, prior.uncertainty))
    cutoff_per_mm = round(math.exp(place), 4)
    return KernelFit(cutoff_per_mm, boost, power, round(error, 3), measured and round(measured, 4), windows, warnings)


def _shape(curve: _Curve) -> tuple[float, float]:
    """Return the edge boost and the window power that fit best; a boost has to be worth it."""
    best, least = (0.0, TABLE_WINDOW_POWER), math.inf
    boosted = itertools.product(_EDGE_BOOSTS_MM2[1:], _POWERS_OF_BOOSTED)
    for boost, power in (*((0.0, power) for power in _WINDOW_POWERS), *boosted):
        surprise = (math.log(power / TABLE_WINDOW_POWER) / _POWER_UNCERTAINTY) ** 2
        score = _least_misfit(curve, boost, power) + surprise + (_WORTH_A_BOOST if boost else 0.0)
        if score < least:
            best, least = (boost, power), score
    return best


def _least_misfit(curve: _Curve, boost: float, power: float) -> float:
    """Return the misfit at the best of all cutoffs, looked for in coarse steps and then around the best of these."""
    step = 4
    coarse = curve.misfit(_CUTOFFS_PER_MM[::step], boost, power)
    middle = step * int(coarse.argmin())
    return float(curve.misfit(_CUTOFFS_PER_MM[max(0, middle - step) : middle + step + 1], boost, power).min())


def _moments(values: _Values, weight: _Values) -> tuple[float, float]:
    mean = float((values * weight).sum() / weight.sum())
    return mean, float(np.sqrt((weight * (values - mean) ** 2).sum() / weight.sum()))


def _doubts(prior: Kernel, measured: float | None, error: float) -> tuple[str, ...]:
    if measured is None:
        return ("the noise doesn't show where the kernel ends, so its cutoff is that of the table",)
    if prior.known and abs(math.log(measured / prior.cutoff_per_mm)) > 2.0 * error:
        return (
            f"the noise looks like a kernel that ends at {measured:.2f}/mm, not at the {prior.cutoff_per_mm:.2f}/mm of "
            f"{prior.name} in the table",
        )
    return ()


def _of_table(prior: Kernel, windows: int, reason: str) -> KernelFit:
    text = f"{reason}, so its cutoff is that of the table; give --kernel-cutoff for another value"
    return KernelFit(prior.cutoff_per_mm, 0.0, TABLE_WINDOW_POWER, prior.uncertainty, None, windows, (text,))


def _corners(tissue: Tissue, side: int) -> npt.NDArray[np.int64]:
    """Return the first row and column of half overlapping squares that hold little but tissue."""
    share = scipy.ndimage.uniform_filter(tissue.inside.astype(np.float32), side)
    rows, columns = tissue.inside.shape
    step = side // 2
    grid = [(row, column) for row in range(0, rows - side, step) for column in range(0, columns - side, step)]
    places = [place for place in grid if share[place[0] + step, place[1] + step] > _LEAST_SHARE]
    return np.asarray(places, dtype=np.int64).reshape(-1, 2)


def _cut(image: Image, corners: npt.NDArray[np.int64], side: int) -> Image:
    return np.stack([image[row : row + side, column : column + side] for row, column in corners])


def _radial_bins(side: int, pixel_mm: float) -> tuple[_Values, _Values]:
    """Return the mean frequency of each ring and the matrix (side², rings) that averages a spectrum over them."""
    radius, rings = radial_rings(side, pixel_mm, range(1, side // 2))
    matrix = np.stack([inside.ravel() / max(1, inside.sum()) for inside in rings], axis=1)
    return radius.ravel() @ matrix, matrix

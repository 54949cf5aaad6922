"""Whether the values of a volume can be HU at all: one judgement for DICOM and NIfTI."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ldctpipe.volumes.levels import Blocks, Levels, blocks_of
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.slice_scale import far_fault, neighbor_fault
from ldctpipe.volumes.volume import HuArray

LARGEST_ROWS_OR_COLUMNS = 4096
NO_TISSUE = "holds nothing denser than -300 HU: air or lung alone, or HU that are too low"

_SAMPLED_SLICES, _SAMPLED_PIXEL_STEP = 64, 4
_LARGEST_HU = 65536.0  # extended CT scales for metal end at 65535
_SMALLEST_SPREAD_HU, _TINY_SPREAD_HU = 24.0, 4.0
_LABELS = 64
_HIGHEST_GREY = 255

# Shares of block means, which noise of 100 HU moves by less than 25. Air is −1000 HU, give or take its calibration.
_BELOW_AIR_HU, _MOST_BELOW_AIR = -1080, 0.01
_DENSEST_OF_LUNG_HU = -300
_LEAST_TISSUE = 0.001
_SOFT_HU = (-200, 300)  # fat to contrast medium
_LEAST_AIR, _LEAST_SOFT = 0.005, 0.03
_DENSE_HU = 300
_LEAST_RIM, _WHOLE_RIM = 0.4, 0.75
_AIR_TO_TISSUE_HU = (850, 1250)  # fat is 900 HU, muscle 1050 HU above air
_DENSER_THAN_LUNG_HU = -600  # most of the time; soft tissue has a peak there and lung has none
_TISSUE_PEAK_HU, _NEAR_TISSUE_HU = (-160, 220), (-130, 150)
_LEAST_PEAK, _LEAST_BODY, _LEAST_OF_BODY = 0.06, 0.05, 0.15
# HU above what lies around, and the share that must have one level: bone in muscle is less even.
_BEYOND_CONTRAST, _BEYOND_BONE = (450, 0.2), (1300, 0.06)


def hu_fault(hu: HuArray, padding: Padding | None = None) -> str | None:
    """Return why finite values (slices, rows, columns) can't be HU, as a clause ("holds …"), or None where they can.

    Refused are scales that do not fit air, soft tissue and bone (a lost or doubled intercept, another slope or sign),
    in the whole volume or in one slice; normalized or standardized values, 8-bit gray values, labels, a single value.
    Means of blocks are judged, without the scanner's padding and without areas filled with the lowest value, so that
    neither noise nor a few pixels of metal decide. Takes memory for one slice at a time.
    """
    sampled = _sampled(hu, padding)
    if not sampled.size:
        return None
    if fault := _number_fault(sampled):
        return fault
    levels, before, far, odd = Levels(), None, None, None
    for number, blocks in enumerate(_blocks(hu, padding), 1):
        own = Levels()
        own.add(blocks)
        levels.merge(own)
        if fault := neighbor_fault(blocks.means, before):
            return f"holds slices on different scales of HU: slice {number} {fault}"
        far = far or far_fault(blocks.means, number)
        odd = odd or _slice_fault(own, number)
        before = blocks.means
    return scale_fault(levels) or far or odd or _normalised(hu, padding, sampled)


def hu_doubt(hu: HuArray, padding: Padding | None = None) -> str | None:
    """Return what is odd about values that may be HU, as a clause for a warning, or None."""
    sampled = _sampled(hu, padding)
    is_empty = sampled.size and np.mean(sampled > _DENSEST_OF_LUNG_HU) < _LEAST_TISSUE
    return NO_TISSUE if is_empty else None


def scale_fault(levels: Levels) -> str | None:
    """Return why block means can't be those of HU, as a clause, or None where they can."""
    if levels.below(_BELOW_AIR_HU) > _MOST_BELOW_AIR:
        share = 100 * levels.below(_BELOW_AIR_HU)
        return f"holds {share:.0f} % below {_BELOW_AIR_HU} HU, and nothing is lighter than air at -1000"
    soft = levels.share(*_SOFT_HU)
    if levels.share(_BELOW_AIR_HU, _DENSEST_OF_LUNG_HU) < _LEAST_AIR and soft < _LEAST_SOFT:
        return "holds neither air near -1000 HU nor soft tissue near 0"
    rims_hu = levels.rim_levels(_LEAST_RIM)
    lost = (_lost_intercept(levels, rim_hu) for rim_hu in (*rims_hu, 0.0))
    wrong = [fault(levels, rim_hu) for fault in (_dense_body, _wrong_surroundings) for rim_hu in rims_hu]
    wrong += [_flattened(levels, rim_hu) for rim_hu in levels.rim_levels(_WHOLE_RIM)]
    others = _nothing_dense(levels, rims_hu), _other_slope(levels, rims_hu), _no_soft_tissue(levels, soft)
    return next(filter(None, (*lost, *wrong, *others)), None)


def _slice_fault(levels: Levels, number: int) -> str | None:
    """Why one slice can't be HU by what surrounds its body; inside there may be anything, bone alone for one."""
    found = (
        fault(levels, rim_hu)
        for fault in (_lost_intercept, _dense_body, _wrong_surroundings)
        for rim_hu in levels.rim_levels(_LEAST_RIM)
    )
    fault = next(filter(None, found), None)
    return f"{fault} (slice {number})" if fault else None


def _lost_intercept(levels: Levels, rim_hu: float) -> str | None:
    """Air near 0 and the body 900 HU above it; bone in soft tissue has no such peak, and has fat or air beside it."""
    air_hu = 10 * round(rim_hu / 10)
    if not -250 <= air_hu <= _DENSE_HU or levels.below(air_hu - 150) > _LEAST_AIR:
        return None
    dense = levels.above(air_hu + 300)
    fat, muscle = levels.share(air_hu + 860, air_hu + 960), levels.share(air_hu + 1000, air_hu + 1130)
    body = levels.share(air_hu + _AIR_TO_TISSUE_HU[0], air_hu + _AIR_TO_TISSUE_HU[1])
    is_body = dense > 0.15 and body > 0.5 * dense
    is_small_body = dense > 0.02 and fat > 0.05 * dense and muscle > 0.3 * dense
    if is_body or is_small_body:
        return "holds air near 0 and soft tissue near 1000: the intercept to HU (often -1024) was lost"
    return None


def _dense_body(levels: Levels, rim_hu: float) -> str | None:
    """Air near 0 and nothing lighter, and a body too far above it for contrast medium or bone in soft tissue."""
    air_hu = 10 * round(rim_hu / 10)
    if not -250 <= air_hu <= _DENSE_HU or levels.below(air_hu - 150) > _LEAST_AIR:
        return None
    for beyond_hu, even in (_BEYOND_CONTRAST, _BEYOND_BONE):
        body_hu, share = levels.peak(air_hu + beyond_hu)
        if levels.above(air_hu + beyond_hu) > 0.15 and share > even:
            return f"holds {rim_hu:.0f} HU all around and a body near {body_hu:.0f}: another slope and intercept"
    return None


def _wrong_surroundings(levels: Levels, rim_hu: float) -> str | None:
    """Uniform surroundings of the body that are neither air nor lung nor a material like tissue."""
    is_between = -650 < rim_hu < -250 and levels.above(-200) > 0.02
    is_dense = rim_hu > _DENSE_HU and levels.share(*_SOFT_HU) > 0.15
    return _surrounded_by(rim_hu) if is_between or is_dense else None


def _flattened(levels: Levels, rim_hu: float) -> str | None:
    """HU divided by five or ten: air at the level of fat, soft tissue near 0 and nothing dense."""
    is_flat = levels.below(10 * round(rim_hu / 10) - 50) < 0.002 and levels.above(_DENSE_HU) < 0.002
    is_flattened = -250 <= rim_hu < -25 and levels.share(-20, 80) > 0.05 and is_flat
    return _surrounded_by(rim_hu) if is_flattened else None


def _surrounded_by(rim_hu: float) -> str:
    return f"holds {rim_hu:.0f} HU all around, instead of air at -1000 or soft tissue"


def _nothing_dense(levels: Levels, rims_hu: list[float]) -> str | None:
    """A body lighter than lung in air; air alone, foam on a table and lung without its surroundings do occur."""
    is_in_air = any(-1060 <= rim_hu <= -940 for rim_hu in rims_hu)
    is_light = levels.above(_DENSEST_OF_LUNG_HU) < _LEAST_TISSUE
    if is_in_air and is_light and levels.share(-940, _DENSEST_OF_LUNG_HU) > 0.25:
        return f"holds nothing denser than {_DENSEST_OF_LUNG_HU} HU, so soft tissue is nowhere near 0"
    return None


def _other_slope(levels: Levels, rims_hu: list[float]) -> str | None:
    """A body in air whose commonest tissue is neither like fat, muscle nor water, of which there is little at all."""
    dense = levels.above(_DENSER_THAN_LUNG_HU)
    if dense < _LEAST_BODY or not any(-1060 <= rim_hu <= -940 for rim_hu in rims_hu):
        return None
    peak_hu, share = levels.peak(_DENSER_THAN_LUNG_HU)
    is_like_tissue = _TISSUE_PEAK_HU[0] <= peak_hu <= _TISSUE_PEAK_HU[1] or share < _LEAST_PEAK
    if is_like_tissue or levels.share(*_NEAR_TISSUE_HU) > _LEAST_OF_BODY * dense:
        return None
    return (
        f"holds air near -1000 HU, but most of the body near {peak_hu:.0f}, where fat and muscle are not: another slope"
    )


def _no_soft_tissue(levels: Levels, soft: float) -> str | None:
    dense = levels.above(_DENSEST_OF_LUNG_HU)
    if dense > 0.1 and soft < _LEAST_SOFT * dense:
        return "holds no soft tissue near 0 HU, but much that is denser than lung"
    return None


def _number_fault(sampled: HuArray) -> str | None:
    """Why numbers can't be HU whatever they show."""
    lowest, highest = float(sampled.min()), float(sampled.max())
    if not max(-lowest, highest) <= _LARGEST_HU:
        return f"holds values from {lowest:g} to {highest:g}, which can't be HU"
    if lowest == highest:
        return f"holds nothing but the value {lowest:g}"
    if lowest >= 0 and _is_label_map(sampled):
        return "holds a few whole numbers from 0: a map of labels, not HU"
    if lowest >= 0 and highest <= _HIGHEST_GREY:
        return f"holds grey values from 0 to {highest:g}, not HU"
    return None


def _normalised(hu: HuArray, padding: Padding | None, sampled: HuArray) -> str | None:
    """A tiny spread, or a small one from structures rather than noise, unlike a uniform phantom."""
    low, high = np.percentile(sampled, (1, 99))
    if high - low >= _SMALLEST_SPREAD_HU:
        return None
    middle = len(hu) // 2
    means = blocks_of(hu[middle], None if padding is None else padding[middle]).means
    if high - low < _TINY_SPREAD_HU or np.nanstd(means) > 0.6 * sampled.std():
        return f"holds values from {low:.3g} to {high:.3g}: normalized, not HU"
    return None


def _sampled(hu: HuArray, padding: Padding | None) -> HuArray:
    """A regular sample of the measured pixels."""
    step = _SAMPLED_PIXEL_STEP if min(hu.shape[1:]) >= 16 * _SAMPLED_PIXEL_STEP else 1
    numbers = range(0, len(hu), -(-len(hu) // _SAMPLED_SLICES))
    pixels = np.s_[::step, ::step]
    if padding is None:
        return np.concatenate([hu[number][pixels].ravel() for number in numbers])
    return np.concatenate([hu[number][pixels][~padding[number][pixels]] for number in numbers])


def _blocks(hu: HuArray, padding: Padding | None) -> Iterator[Blocks]:
    for number, one in enumerate(hu):
        yield blocks_of(one, None if padding is None else padding[number])


def _is_label_map(sampled: npt.NDArray[np.generic]) -> bool:
    return bool((sampled == np.rint(sampled)).all()) and len(np.unique(sampled)) <= _LABELS  # type: ignore[call-overload]

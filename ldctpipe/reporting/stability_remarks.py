"""Measures of stability in words: one short remark for a training, and one for all trainings of a point."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from statistics import median

from ldctpipe.metrics.stability import (
    FLUCTUATION_DB,
    LEAST_LOGGED,
    LEAST_VALIDATIONS,
    Stability,
)

_STABLE_SHARE = 0.95
_SLOW_FACTOR = 2.0
_SLOW_VALIDATIONS = 3  # the resolution of "when": a difference of fewer is none


class Verdict(IntEnum):
    """How a training went, the worst first."""

    COLLAPSED = 0
    DIVERGING = 1
    FLUCTUATING = 2
    BEYOND_BAND = 3
    STABLE = 4
    TOO_SHORT = 5


def verdict_of(measures: Stability) -> Verdict:
    """Return the worst that can be said of a training, or that its log is too short to say anything."""
    if not measures.judged:
        return Verdict.TOO_SHORT
    if measures.collapse:
        return Verdict.COLLAPSED
    if measures.critic_diverges:
        return Verdict.DIVERGING
    if (measures.fluctuation_db or 0) > FLUCTUATION_DB:
        return Verdict.FLUCTUATING
    return Verdict.STABLE if 1 - (measures.share_beyond or 0) >= _STABLE_SHARE else Verdict.BEYOND_BAND


def remark_on(trainings: Sequence[Stability], band: float) -> str:
    """Return one remark on all trainings of a point, the worst first, with counts where there are several."""
    if not trainings:
        return "no training finished"
    groups: dict[Verdict, list[Stability]] = {}
    for measures in trainings:
        groups.setdefault(verdict_of(measures), []).append(measures)
    remarks = [
        _counted(_in_words(verdict, groups[verdict], band), groups[verdict], trainings) for verdict in sorted(groups)
    ]
    returned = [measures for measures in trainings if measures.rollbacks]
    if returned:
        times = sum(measures.rollbacks for measures in returned)
        remarks.append(_counted(f"went back to the last good state ({_times(times)})", returned, trainings))
    return "; ".join(remarks)


def slowness(reached: float | None, interval: float | None, fastest: tuple[str, float] | None) -> str | None:
    """Return the remark that a point is slow, or None.

    `reached` is the median iteration over its trainings at which 90 % of the final gain was there, `fastest` the name
    and that iteration of the fastest point, `interval` the iterations between two validations. Slow is at least twice
    as late as the fastest, and later by three validations.
    """
    if reached is None or interval is None or fastest is None:
        return None
    name, earliest = fastest
    if reached < _SLOW_FACTOR * earliest or reached - earliest < _SLOW_VALIDATIONS * interval:
        return None
    return f"slow: 90 % of the gain at iteration {reached:,.0f}, {reached / earliest:.1f} times as late as {name}"


def reached_by(trainings: Sequence[Stability]) -> float | None:
    """Return the median iteration at which the trainings had 90 % of their gain; a collapsed one has none left."""
    known = [m.reached for m in trainings if m.judged and m.reached is not None and not m.collapse]
    return float(median(known)) if known else None


def _in_words(verdict: Verdict, group: Sequence[Stability], band: float) -> str:
    if verdict is Verdict.COLLAPSED:
        falls = [measures.collapse for measures in group if measures.collapse]
        first, deepest = min(fall.iteration for fall in falls), max(fall.drop_db for fall in falls)
        where = "collapsed at iteration" if len(group) == 1 else "collapsed, the first at iteration"
        return (
            f"{where} {first:,}: validation PSNR fell {'up to ' if len(group) > 1 else ''}{deepest:.1f} dB and stayed"
        )
    if verdict is Verdict.DIVERGING:
        return f"critic diverging: its loss grows to the end, up to {_largest(group):.3g}"
    if verdict is Verdict.FLUCTUATING:
        return f"fluctuating: validation PSNR ± {max(m.fluctuation_db or 0 for m in group):.2f} dB about its trend"
    if verdict is Verdict.TOO_SHORT:
        return _too_short(group)
    within = f"critic loss within ±{band:g} in {100 * (1 - _share(group)):.0f} % of iterations"
    if verdict is Verdict.STABLE:
        return f"stable: {within}"
    return f"steady validation, but {within} only, at most {_largest(group):.3g}"


def _too_short(group: Sequence[Stability]) -> str:
    validations, logged = min(m.validations for m in group), min(m.logged for m in group)
    if validations < LEAST_VALIDATIONS:
        noun = "validation" if validations == 1 else "validations"
        return f"too short to judge: {validations} {noun}, {LEAST_VALIDATIONS} needed"
    return f"too short to judge: {logged} logged iterations, {LEAST_LOGGED} needed"


def _counted(remark: str, group: Sequence[Stability], all_of_them: Sequence[Stability]) -> str:
    return remark if len(all_of_them) == 1 else f"{len(group)} of {len(all_of_them)} {remark}"


def _share(group: Sequence[Stability]) -> float:
    return sum(measures.share_beyond or 0 for measures in group) / len(group)


def _largest(group: Sequence[Stability]) -> float:
    return max(measures.largest_critic_loss or 0 for measures in group)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"

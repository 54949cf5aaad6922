"""How a training went, measured from its log: the critic's loss and the PSNR of its validations over iterations.

Every measure is a function of one curve and None where the curve is too short for it. Curves are 1-D arrays in the
order of iterations, without gaps: a validation PSNR comes with the iteration of each validation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Curve = npt.NDArray[np.float64]

LEAST_VALIDATIONS = 10  # below, neither a collapse nor a trend can be told from chance
LEAST_LOGGED = 20
COLLAPSE_DB = 1.0
DIVERGING_FACTOR = 3.0
FLUCTUATION_DB = 0.3  # twice the published spread over trainings of the best point, 0.15 dB
SHARE_OF_GAIN = 0.9
_LEAST_GAIN_DB = 0.1
_LEAST_FOR_TREND = 5
_LEAST_BELOW = 3


@dataclass(frozen=True)
class Collapse:
    """The first validation that lies far below the best one with all that follow, and the median depth of those."""

    iteration: int
    drop_db: float


@dataclass(frozen=True)
class Stability:
    """The measures of one training; `rollbacks` counts returns to the last good state, where the log has a count."""

    logged: int
    validations: int
    validation_interval: float | None
    share_beyond: float | None
    largest_critic_loss: float | None
    critic_drift: float | None
    critic_diverges: bool | None
    collapse: Collapse | None
    fluctuation_db: float | None
    reached: int | None
    rollbacks: int = 0

    @property
    def judged(self) -> bool:
        """Whether the curves are long enough to say how the training went."""
        return self.validations >= LEAST_VALIDATIONS and self.logged >= LEAST_LOGGED


def measure_stability(training: pd.DataFrame, band: float, rollbacks: int = 0) -> Stability:
    """Return the measures of a log with the columns `iteration`, `loss_critic` and `validation_psnr_db`.

    `band` is the bound that the size of the critic's loss is held against.
    """
    critic = _curve(training, "loss_critic")[1]
    iterations, psnr_db = _curve(training, "validation_psnr_db")
    drift = critic_drift(critic)
    return Stability(
        logged=len(critic),
        validations=len(psnr_db),
        validation_interval=float(np.median(np.diff(iterations))) if len(iterations) > 1 else None,
        share_beyond=share_beyond(critic, band),
        largest_critic_loss=float(np.abs(critic).max()) if len(critic) else None,
        critic_drift=drift,
        critic_diverges=critic_diverges(critic, band),
        collapse=collapse(iterations, psnr_db),
        fluctuation_db=fluctuation_db(iterations, psnr_db),
        reached=reached(iterations, psnr_db),
        rollbacks=rollbacks,
    )


def share_beyond(critic_loss: Curve, band: float) -> float | None:
    """Return the share of logged iterations at which the size of the critic's loss is above `band`."""
    return float((np.abs(critic_loss) > band).mean()) if len(critic_loss) else None


def critic_drift(critic_loss: Curve) -> float | None:
    """Return the median critic loss of the last fifth of the log minus that of its middle fifth.

    The beginning is left out: an untrained critic has no gradient, so its penalty is about 1 and its loss about λ.
    """
    if len(critic_loss) < LEAST_LOGGED:
        return None
    middle, last = _middle_and_last_fifth(critic_loss)
    return float(np.median(last) - np.median(middle))


def critic_diverges(critic_loss: Curve, band: float) -> bool | None:
    """Tell whether the critic's loss runs away.

    It does when its median size in the last fifth of the log is more than three times that in the middle fifth, or
    than `band` where the middle fifth lies within it.
    """
    if len(critic_loss) < LEAST_LOGGED:
        return None
    middle, last = _middle_and_last_fifth(np.abs(critic_loss))
    return bool(np.median(last) > DIVERGING_FACTOR * max(float(np.median(middle)), band))


def collapse(iterations: Curve, psnr_db: Curve, depth_db: float = COLLAPSE_DB) -> Collapse | None:
    """Return where validation PSNR falls more than `depth_db` below its best and stays there to the end, or None.

    The best is that of the running median of five validations, so that one lucky validation is none. Staying takes a
    tenth of all validations, and three at least. A dip that recovers is no collapse; it shows in `fluctuation_db`.
    """
    if len(psnr_db) < LEAST_VALIDATIONS:
        return None
    best_db = float(np.median(np.lib.stride_tricks.sliding_window_view(psnr_db, 5), axis=1).max())
    above = np.flatnonzero(psnr_db >= best_db - depth_db)
    first = int(above[-1]) + 1
    if len(psnr_db) - first < max(_LEAST_BELOW, len(psnr_db) // 10):
        return None
    return Collapse(int(iterations[first]), best_db - float(np.median(psnr_db[first:])))


def fluctuation_db(iterations: Curve, psnr_db: Curve) -> float | None:
    """Return the standard deviation of validation PSNR in the last third of the validations about its linear trend.

    In dB, with the two degrees of freedom of the trend taken off; five validations at least are taken for the third.
    """
    if len(psnr_db) < LEAST_VALIDATIONS:
        return None
    last = max(_LEAST_FOR_TREND, len(psnr_db) // 3)
    at, values = iterations[-last:], psnr_db[-last:]
    trend = np.polynomial.Polynomial.fit(at, values, 1)
    return float(np.sqrt(np.square(values - trend(at)).sum() / (len(values) - 2)))


def reached(iterations: Curve, psnr_db: Curve, share: float = SHARE_OF_GAIN) -> int | None:
    """Return the first iteration whose validation has `share` of the gain from the first validation to the end.

    The end is the median of the last fifth of the validations. None where there are too few of them, or where the
    gain is below 0.1 dB and so has no tenths.
    """
    if len(psnr_db) < LEAST_VALIDATIONS:
        return None
    gain_db = float(np.median(psnr_db[-(len(psnr_db) // 5) :])) - psnr_db[0]
    if gain_db < _LEAST_GAIN_DB:
        return None
    return int(iterations[np.argmax(psnr_db >= psnr_db[0] + share * gain_db)])


def _curve(training: pd.DataFrame, column: str) -> tuple[Curve, Curve]:
    """Return iterations and values of the rows that have a value."""
    if column not in training:
        return np.empty(0), np.empty(0)
    rows = training[["iteration", column]].dropna()
    return rows["iteration"].to_numpy(dtype=np.float64), rows[column].to_numpy(dtype=np.float64)


def _middle_and_last_fifth(curve: Curve) -> tuple[Curve, Curve]:
    fifth = len(curve) // 5
    return curve[2 * fifth : 3 * fifth], curve[-fifth:]

"""How often nominal 95 % intervals of a mean over few patients hold the true mean: t, BCa and percentile bootstrap.

    .venv/bin/python benchmarks/interval_coverage.py [DRAWS]

Prints a table (half a minute for the default 2,000 draws; standard error of a coverage: 0.5 %).
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from ldctpipe.metrics.statistics import bca_interval, t_interval

PATIENTS = (3, 5, 10, 20, 50)
RESAMPLES = 2000

Interval = tuple[float, float]
Method = Callable[[np.ndarray, int], Interval]


def percentile(patients: np.ndarray, seed: int) -> Interval:
    """Return the percentile interval of a bootstrap of the mean."""
    drawn = np.random.default_rng(seed).choice(patients, size=(RESAMPLES, len(patients)))
    low, high = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


METHODS: dict[str, Method] = {
    "t": lambda patients, _: t_interval(patients),
    "BCa": lambda patients, seed: bca_interval(patients, seed, RESAMPLES) or (0.0, 0.0),
    "percentile": percentile,
}
DRAWN: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda random, n: random.normal(0, 1, n),
    "gamma, skew 1": lambda random, n: random.gamma(4, 1, n) - 4,
}


def coverage(method: Method, draw: Callable[[np.random.Generator, int], np.ndarray], n: int, draws: int) -> float:
    """Return the share of intervals that hold the true mean, which is 0."""
    random = np.random.default_rng(n)
    intervals = (method(draw(random, n), seed) for seed in range(draws))
    return float(np.mean([low < 0 < high for low, high in intervals]))


def main() -> None:
    """Print the table."""
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"{'differences':<15}{'patients':>9}" + "".join(f"{name:>12}" for name in METHODS))
    for name, draw in DRAWN.items():
        for n in PATIENTS:
            found = (coverage(method, draw, n, draws) for method in METHODS.values())
            print(f"{name:<15}{n:>9}" + "".join(f"{100 * share:>10.1f} %" for share in found), flush=True)


if __name__ == "__main__":
    main()

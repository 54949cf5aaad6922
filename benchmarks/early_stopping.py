"""When early stopping ends simulated trainings of the flagship.

    .venv/bin/python benchmarks/early_stopping.py [--runs 400]

The simulated validation loss falls towards a floor, fast or slowly, until the network has learned all that it will; it
is raised by a high learning rate, and noisy, most so at a high rate. Size of fall and noise are such that the published
patience of 5,000 iterations ends runs at 20,000 to 90,000 iterations. A row is one way of counting patience. Its
columns give after how many thousands of iterations, of 200, runs end (5th percentile, median, 95th), and how many of
them end before their last iteration: runs that improve to the end, which should go on, and runs that learn nothing more
after 100,000, which should end soon after.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.schema import Recipe
from ldctpipe.training.early_stopping import CycleLosses, ends_cycle
from ldctpipe.training.schedule import rate_fraction, restarts

FLAGSHIP, LITERAL, CONSTANT = "wgan-gp-effnetv2", "wgan-gp-effnetv2-literal", "wgan-gp-effnetv2-abstract"
Losses = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A simulated validation loss, in units of what it falls by in all."""

    title: str
    scale: float  # of the fall 1/(1 + t/scale), as a share of the run
    learns: float = 1.0  # share of the run after which nothing more is learned
    raised: float = 0.1  # by the full learning rate
    noise: float = 0.01  # standard deviation at the least learning rate
    noise_at_full_rate: float = 0.05
    correlation: float = 0.5  # of the noise of one validation and the next

    def losses(self, recipe: Recipe, iterations: list[int], runs: int, seed: int = 0) -> Losses:
        """Return the losses (runs, validations) of many runs."""
        plan, at = recipe.training, np.array(iterations)
        rates = np.array([rate_fraction(recipe.schedule, each - 1, plan.iterations) for each in iterations])
        random = np.random.default_rng(seed)
        noise = random.standard_normal((runs, len(at)))
        for index in range(1, len(at)):
            noise[:, index] *= np.sqrt(1 - self.correlation**2)
            noise[:, index] += self.correlation * noise[:, index - 1]
        learned = np.minimum(at / plan.iterations, self.learns)
        deviation = self.noise + (self.noise_at_full_rate - self.noise) * rates
        return 1 / (1 + learned / self.scale) + self.raised * rates + deviation * noise


FAST, SLOW = Curve("fast fall", 0.1), Curve("slow fall", 0.3)
FAST_HALF, SLOW_HALF = Curve("fast, to 100", 0.1, 0.5), Curve("slow, to 100", 0.3, 0.5)


def validations(recipe: Recipe) -> tuple[list[int], list[bool]]:
    """Return the iterations after which a training validates, and at which of them a cycle is judged."""
    plan = recipe.training
    ends = [
        bool(plan.early_stopping_cycles) and ends_cycle(recipe.schedule, plan, iteration)
        for iteration in range(1, plan.iterations + 1)
    ]
    at = [i for i, ending in enumerate(ends, 1) if ending or i % plan.validate_every == 0 or i == plan.iterations]
    return at, [ends[i - 1] for i in at]


def end_of(recipe: Recipe, iterations: list[int], ends: list[bool], losses: Losses) -> int:
    """Return after how many iterations a run with these validation losses ends."""
    plan, cycles = recipe.training, CycleLosses()
    best, best_at = np.inf, 0
    for iteration, ending, loss in zip(iterations, ends, losses.tolist(), strict=True):
        if loss < best:
            best, best_at = loss, iteration
        if plan.early_stopping_cycles:
            cycles = cycles.with_loss(loss, ends=ending, restarting=restarts(recipe.schedule))
            if cycles.without_improvement() >= plan.early_stopping_cycles:
                return iteration
        elif plan.early_stopping_iterations and iteration - best_at >= plan.early_stopping_iterations:
            return iteration
    return plan.iterations


def ends_of(recipe: Recipe, curve: Curve, runs: int) -> npt.NDArray[np.int64]:
    """Return after how many iterations each of many runs ends."""
    iterations, ends = validations(recipe)
    return np.array([end_of(recipe, iterations, ends, each) for each in curve.losses(recipe, iterations, runs)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    patience = [(FLAGSHIP, cycles) for cycles in (3, 5, 8, 10)] + [(CONSTANT, cycles) for cycles in (3, 5, 8, 12)]
    rows = {"5,000 iterations (literal)": load_recipe(LITERAL)}
    for name, cycles in patience:
        how = "parts, constant rate" if name == CONSTANT else "cycles"
        rows[f"{cycles} {how}"] = load_recipe(name, [f"training.early_stopping_cycles={cycles}"])
    curves = (FAST, SLOW, FAST_HALF, SLOW_HALF)
    print("| patience | " + " | ".join(curve.title for curve in curves) + " |")
    print("|---|" + "---|" * len(curves))
    for title, recipe in rows.items():
        cells = []
        for curve in curves:
            ended = ends_of(recipe, curve, runs)
            low, middle, high = np.percentile(ended, [5, 50, 95]) / 1000
            early = 100 * float(np.mean(ended < recipe.training.iterations))
            cells.append(f"{low:.0f}, {middle:.0f}, {high:.0f}; {early:.0f} %")
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

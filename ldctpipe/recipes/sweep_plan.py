"""From a sweep and a recipe to the trainings that it takes: checked, numbered, and none of them twice."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ldctpipe import __version__
from ldctpipe.errors import InputError, UsageError
from ldctpipe.files import read_json, write_json, write_text
from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.schema import Losses, Recipe
from ldctpipe.recipes.sweep import Sweep, SweepPoint

PLAN_FORMAT: Literal["ldctpipe-sweep-plan@1"] = "ldctpipe-sweep-plan@1"
_SEPARATOR = ";"
_COLUMNS = ("id", "point", "recipe", "repeat", "seed", "same_as", "init", "overrides")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlannedPoint(_Part):
    """A point with the values of the sweep's columns; `same_as` names an earlier point that is the same training.

    `init` names the point that is trained first, and whose bundles this one's trainings start from.
    """

    name: str
    values: dict[str, Any]
    same_as: str | None
    init: str | None = None


class PlannedRun(_Part):
    """One training: a point with one seed. `same_as` is the id of the run that it is the same as, and is not run.

    `init` is the id of the run whose bundle it starts from.
    """

    id: str
    point: str
    recipe: str
    repeat: int
    seed: int
    same_as: str | None
    init: str | None = None
    overrides: tuple[str, ...]


class Plan(_Part):
    """All trainings of a sweep, with what the report needs to know of it."""

    format: Literal["ldctpipe-sweep-plan@1"] = PLAN_FORMAT
    ldctpipe: str
    sweep: Sweep
    recipe: str | None  # of every point; None where each has its own
    small: bool  # whether the points are cut down for a trial
    overrides: tuple[str, ...]  # of every point, beside its own
    pretrained: bool
    repeats: int
    seed: int
    points: tuple[PlannedPoint, ...]
    runs: tuple[PlannedRun, ...]

    def runs_of(self, point: PlannedPoint) -> list[PlannedRun]:
        """Return the runs that give the figures of `point`: those of the point that it is the same as, if any."""
        return [run for run in self.runs if run.point == (point.same_as or point.name)]


def plan_sweep(
    sweep: Sweep,
    recipe: str | None,
    overrides: Sequence[str] = (),
    *,
    pretrained: bool = True,
    small: bool = False,
    repeats: int = 1,
    seed: int = 1,
) -> Plan:
    """Return the trainings of `sweep` with `recipe`; repeats have the seeds `seed`, `seed` + 1, ….

    A sweep that compares recipes takes each point's own, and `recipe` has no part in it; `small` cuts its networks down
    as the sweep says.

    Points that come to the same training are planned once. That happens without ImageNet weights (`pretrained`
    false), where the perceptual loss is left out whatever its weight. Raises `UsageError` for a point or column that
    the recipe has no key for, a wrong value, `overrides` of what the sweep varies, or a point that can't start from the
    one that it names.
    """
    _refuse_contradictions(sweep, overrides)
    if not sweep.compares_recipes:
        if recipe is None:
            raise UsageError(None, f"sweep {sweep.name} needs a recipe to change", "name one with --recipe")
        load_recipe(recipe, overrides)  # first, so that what is wrong with it is not laid at a point's door
    named = {point.name: point.recipe or recipe or "" for point in sweep.points}
    changes = {point.name: (*overrides, *point.overrides, *(point.small if small else ())) for point in sweep.points}
    recipes = {each.name: _recipe_of(sweep, each, named[each.name], changes[each.name]) for each in sweep.points}
    _refuse_misfits(sweep, recipes)
    first = _first_of_equals(sweep, {name: _as_trained(each, pretrained) for name, each in recipes.items()})
    points = [_planned(sweep, point, recipes[point.name], first) for point in sweep.points]
    seeds = range(seed, seed + repeats)
    runs = [run for point in points for run in _runs(point, named[point.name], changes[point.name], seeds)]
    return Plan(
        ldctpipe=__version__,
        sweep=sweep,
        recipe=None if sweep.compares_recipes else recipe,
        small=small and any(point.small for point in sweep.points),
        overrides=tuple(overrides),
        pretrained=pretrained,
        repeats=repeats,
        seed=seed,
        points=tuple(points),
        runs=tuple(runs),
    )


def write_plan(plan: Plan, table: Path) -> None:
    """Write the runs to `table` as CSV, and the whole plan beside it as JSON under the same name."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for run in plan.runs:
        writer.writerow({**run.model_dump(), "overrides": _SEPARATOR.join(run.overrides)})
    write_text(table, stream.getvalue())
    write_json(table.with_suffix(".json"), plan.model_dump(mode="json"))


def read_plan(path: Path) -> Plan:
    """Return the plan in `path`; raises `InputError` where it is none."""
    try:
        return Plan.model_validate(read_json(path, "the plan of a sweep"))
    except ValidationError as error:
        first = error.errors()[0]
        fault = f"is not the plan of a sweep ({'.'.join(map(str, first['loc']))}: {first['msg']})"
        raise InputError(path, fault, "run `ldctpipe sweep` again") from None


def _refuse_contradictions(sweep: Sweep, overrides: Sequence[str]) -> None:
    varied = {_key(override) for point in sweep.points for override in point.overrides}
    if "seed" in varied | {_key(override) for override in overrides}:
        raise UsageError(None, "the seed is what repeats vary", "give the first one with --seed")
    for override in overrides:
        if _key(override) in varied:
            fault = f"--set {override} contradicts the sweep {sweep.name}, which varies {_key(override)}"
            raise UsageError(None, fault, "leave it out")


def _recipe_of(sweep: Sweep, point: SweepPoint, recipe: str, changes: Sequence[str]) -> Recipe:
    try:
        return load_recipe(recipe, changes)
    except UsageError as error:
        fault = f"sweep {sweep.name}, point {point.name}: {error.fault.removeprefix('--set ')}"
        raise UsageError(error.path, fault, error.remedy) from None


def _refuse_misfits(sweep: Sweep, recipes: dict[str, Recipe]) -> None:
    from ldctpipe.recipes.transfer import misfit  # torch: not needed to read a plan

    for point in sweep.points:
        if point.init and (other := misfit(recipes[point.init], recipes[point.name])):
            fault = f"sweep {sweep.name}, point {point.name}: {point.init}, which it is to start from, has {other}"
            raise UsageError(None, fault, "let both have the same options of the network and the same HU range")


def _first_of_equals(sweep: Sweep, trained: dict[str, Recipe]) -> dict[str, str]:
    """Return for each point the first one that is the same training: itself, where no earlier one is."""
    first: dict[str, str] = {}
    known: list[tuple[Recipe, str | None, str]] = []
    for point in sorted(sweep.points, key=lambda point: point.init is not None):  # what others start from comes first
        recipe, start = trained[point.name], first[point.init] if point.init else None
        same = (name for other, begun, name in known if (other, begun) == (recipe, start))
        first[point.name] = next(same, point.name)
        known.append((recipe, start, first[point.name]))
    return first


def _planned(sweep: Sweep, point: SweepPoint, recipe: Recipe, first: dict[str, str]) -> PlannedPoint:
    return PlannedPoint(
        name=point.name,
        values=_values(sweep, recipe),
        same_as=first[point.name] if first[point.name] != point.name else None,
        init=first[point.init] if point.init else None,
    )


def _as_trained(recipe: Recipe, pretrained: bool) -> Recipe:
    """Return the recipe without what has no effect on the training."""
    losses = recipe.losses
    if not pretrained:
        losses = losses.model_copy(update={"perceptual": 0.0})
    if losses.perceptual == 0:
        losses = losses.model_copy(update={name: Losses.model_fields[name].default for name in _OF_FEATURES})
    return recipe.model_copy(update={"losses": losses})


_OF_FEATURES = ("perceptual_backbone", "perceptual_stages", "perceptual_layers", "perceptual_distance")


def _values(sweep: Sweep, recipe: Recipe) -> dict[str, Any]:
    content = recipe.model_dump(mode="json")
    return {column: _value(sweep, content, column) for column in sweep.columns}


def _value(sweep: Sweep, content: Any, column: str) -> Any:
    for part in column.split("."):
        if not isinstance(content, dict) or part not in content:
            fault = f"sweep {sweep.name}, column {column}: the recipe has no such key"
            raise UsageError(None, fault, "`ldctpipe recipes NAME` prints all keys")
        content = content[part]
    return content


def _runs(point: PlannedPoint, recipe: str, overrides: tuple[str, ...], seeds: range) -> list[PlannedRun]:
    return [
        PlannedRun(
            id=_run_id(point.name, seed),
            point=point.name,
            recipe=recipe,
            repeat=repeat,
            seed=seed,
            same_as=_run_id(point.same_as, seed) if point.same_as else None,
            init=_run_id(point.init, seed) if point.init else None,
            overrides=overrides,
        )
        for repeat, seed in enumerate(seeds, start=1)
    ]


def _run_id(point: str, seed: int) -> str:
    return f"{point}.seed-{seed}"


def _key(override: str) -> str:
    return override.partition("=")[0].strip()

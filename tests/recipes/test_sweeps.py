"""Sweeps: the published tables to the digit, what is planned, and what a wrong sweep gets."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode, InputError, UsageError
from ldctpipe.recipes.library import load_recipe, shipped_names
from ldctpipe.recipes.sweep import load_sweep, shipped_sweeps
from ldctpipe.recipes.sweep_plan import plan_sweep, read_plan, write_plan

MINI = "wgan-gp-effnetv2-mini"
OWN = {
    "name": "own",
    "title": "Mine",
    "columns": {"losses.pixel": "λ₂"},
    "points": [{"name": "a", "overrides": ["losses.pixel=1.0"]}, {"name": "b", "overrides": ["losses.pixel=2.0"]}],
}


def own(folder: Path, **changes: object) -> str:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({**OWN, **changes}))
    return str(path)


def published(sweep: str) -> list[tuple[object, ...]]:
    return [
        (*values.values(), *point.published.psnr_db, *point.published.ssim)
        for point, values in zip(
            load_sweep(sweep).points,
            (point.values for point in plan_sweep(load_sweep(sweep), "wgan-gp-effnetv2").points),
            strict=True,
        )
    ]


def test_table_1_is_the_published_one():
    assert published("table1") == [
        (1, 32.45, 0.23, 0.903, 0.012),
        (5, 32.98, 0.19, 0.915, 0.008),
        (10, 33.24, 0.15, 0.920, 0.005),
        (20, 33.01, 0.18, 0.918, 0.007),
    ]


def test_table_2_is_the_published_one():
    assert published("table2") == [
        (1.0, 0, 0.1, 32.68, 0.20, 0.908, 0.009),
        (1.0, 0.5, 0.1, 32.95, 0.17, 0.914, 0.007),
        (1.0, 1.0, 0.01, 32.87, 0.18, 0.913, 0.008),
        (1.0, 1.0, 0.1, 33.24, 0.15, 0.920, 0.005),
        (1.0, 1.0, 0.5, 33.12, 0.16, 0.918, 0.006),
        (1.0, 2.0, 0.1, 32.89, 0.19, 0.912, 0.008),
        (0.5, 1.0, 0.1, 32.76, 0.21, 0.911, 0.009),
        (2.0, 1.0, 0.1, 32.93, 0.17, 0.915, 0.007),
    ]


@pytest.mark.parametrize("sweep", shipped_sweeps())
@pytest.mark.parametrize("recipe", [name for name in shipped_names() if name.startswith("wgan-gp-")])
def test_every_shipped_sweep_fits_every_form_of_the_flagship(sweep, recipe):
    plan = plan_sweep(load_sweep(sweep), recipe, repeats=2)
    assert load_sweep(sweep).name == sweep
    assert len(plan.runs) == 2 * len(plan.points)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]*", planned.id) for planned in plan.runs)


def test_sweeps_are_not_recipes():
    assert not set(shipped_sweeps()) & set(shipped_names())


def test_repeats_have_successive_seeds_and_stable_ids():
    few, more = (plan_sweep(load_sweep("table1"), MINI, repeats=n, seed=3) for n in (1, 3))
    assert [planned.id for planned in more.runs[:3]] == ["gp-1.seed-3", "gp-1.seed-4", "gp-1.seed-5"]
    assert [planned.seed for planned in more.runs[:3]] == [3, 4, 5]
    assert set(few.runs) <= set(more.runs)


def test_the_overrides_of_a_run_make_its_recipe():
    plan = plan_sweep(load_sweep("table1"), MINI, ["training.iterations=20"])
    recipe = load_recipe(MINI, plan.runs[-1].overrides)
    assert (recipe.algorithm.gradient_penalty, recipe.training.iterations) == (20, 20)


def test_a_common_budget_leaves_filters_their_own():
    plan = plan_sweep(load_sweep("table3"), None, ["training.iterations=20000"])
    trained = {planned.point: load_recipe(planned.recipe, planned.overrides) for planned in plan.runs}

    tuned = {name for name, recipe in trained.items() if recipe.algorithm.name == "strength_tuning"}
    assert tuned == {"nlm", "tv", "bilateral"}
    assert {recipe.training.iterations for name, recipe in trained.items() if name in tuned} == {24}
    assert {recipe.training.iterations for name, recipe in trained.items() if name not in tuned} == {20_000}


def test_without_imagenet_weights_points_that_differ_in_the_perceptual_weight_alone_are_one():
    plan = plan_sweep(load_sweep("table2"), MINI, pretrained=False, repeats=2)
    assert {point.name: point.same_as for point in plan.points if point.same_as} == {
        "w-1-1-0.1": "w-1-1-0.01",
        "w-1-1-0.5": "w-1-1-0.01",
    }
    assert [run.same_as for run in plan.runs if run.point == "w-1-1-0.5"] == [
        "w-1-1-0.01.seed-1",
        "w-1-1-0.01.seed-2",
    ]
    assert not [point for point in plan_sweep(load_sweep("table2"), MINI).points if point.same_as]


def test_equal_points_of_a_file_are_one_too(tmp_path):
    points = [{"name": "a", "overrides": []}, {"name": "b", "overrides": ["losses.pixel=1.0"]}]
    plan = plan_sweep(load_sweep(own(tmp_path, points=points)), MINI)
    assert [point.same_as for point in plan.points] == [None, "a"]


def test_cpce_3d_starts_from_the_2d_network_of_its_own_repeat_at_full_size_and_small():
    for small in (False, True):
        plan = plan_sweep(load_sweep("table3"), None, small=small, repeats=2, seed=3)
        assert {planned.id: planned.init for planned in plan.runs if planned.init} == {
            "cpce-3d.seed-3": "cpce-2d.seed-3",
            "cpce-3d.seed-4": "cpce-2d.seed-4",
        }
        assert {point.name: point.init for point in plan.points if point.init} == {"cpce-3d": "cpce-2d"}


def test_points_are_one_training_only_with_one_start(tmp_path):
    points = [
        {"name": "d", "init": "b"},
        {"name": "a"},
        {"name": "b", "overrides": ["losses.pixel=1.0"]},  # what the recipe has
        {"name": "c", "overrides": ["losses.pixel=2.0"]},
        {"name": "e", "init": "a"},
        {"name": "f", "init": "c"},
    ]
    plan = plan_sweep(load_sweep(own(tmp_path, points=points)), MINI)
    assert {point.name: point.same_as for point in plan.points if point.same_as} == {"b": "a", "e": "d"}
    assert {point.name: point.init for point in plan.points if point.init} == {"d": "a", "e": "a", "f": "c"}


def test_the_table_of_runs_names_the_run_to_start_from(tmp_path):
    points = [{"name": "a"}, {"name": "b", "init": "a", "overrides": ["losses.pixel=2.0"]}]
    assert (
        run(["sweep", own(tmp_path, points=points), str(tmp_path / "plan.csv"), "--recipe", MINI, "--repeats", "2"])
        == 0
    )
    with (tmp_path / "plan.csv").open(newline="") as stream:
        assert [row["init"] for row in csv.DictReader(stream)] == ["", "", "a.seed-1", "a.seed-2"]
    assert [planned.init for planned in read_plan(tmp_path / "plan.json").runs] == [None, None, "a.seed-1", "a.seed-2"]


def test_a_plan_reads_back_as_itself(tmp_path):
    plan = plan_sweep(load_sweep("table2"), MINI, ["training.iterations=20"], repeats=2)
    write_plan(plan, tmp_path / "plan.csv")
    assert read_plan(tmp_path / "plan.json") == plan
    with (tmp_path / "plan.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [tuple(row["overrides"].split(";")) for row in rows] == [planned.overrides for planned in plan.runs]


def test_what_is_no_plan_is_refused(tmp_path):
    (tmp_path / "plan.json").write_text('{"format": "other"}')
    with pytest.raises(InputError, match="is not the plan of a sweep"):
        read_plan(tmp_path / "plan.json")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"points": [OWN["points"][0], OWN["points"][0]]}, "two points are named a"),
        ({"pointz": []}, "pointz"),
        ({"points": [{"name": "a", "overrides": [], "psnr": 3}]}, "points.0.psnr"),
        ({"points": [{"name": "../a", "overrides": []}]}, "points.0.name"),
        ({"points": [{"name": "a", "overrides": ["losses.pixel='$(id)'"]}]}, "points.0.overrides.0"),
        ({"points": [{"name": "a", "overrides": ["losses.pixel=1;losses.perceptual=2"]}]}, "points.0.overrides.0"),
        ({"points": []}, "points"),
        ({"points": [{"name": "a", "overrides": [], "published": {"psnr_db": [3, 1]}}]}, "`published` is missing"),
        (
            {"points": [{"name": "a", "overrides": ["losses.pixle=1.0"]}]},
            "point a: losses.pixle: the recipe has no such",
        ),
        (
            {"points": [{"name": "a", "overrides": ["losses.pixel=much"]}]},
            "point a: recipe wgan-gp-effnetv2-mini: losses",
        ),
        ({"points": [{"name": "a", "overrides": ["seed=4"]}]}, "the seed is what repeats vary"),
        ({"points": [{"name": "a", "init": "a"}]}, "point a can't start from itself"),
        ({"points": [{"name": "a", "init": "c"}]}, "point a starts from c, which is no point of the sweep"),
        (
            {"points": [{"name": "a"}, {"name": "b", "init": "a"}, {"name": "c", "init": "b"}]},
            "point c starts from b, which starts from a",
        ),
        (
            {"points": [{"name": "a"}, {"name": "b", "init": "a", "overrides": ["data.normalization.upper_hu=900.0"]}]},
            "point b: a, which it is to start from, has another HU range",
        ),
        (
            {"points": [{"name": "a"}, {"name": "b", "init": "a", "overrides": ["generator.skips=deep"]}]},
            "point b: a, which it is to start from, has another network",
        ),
        ({"columns": {"losses.pixle": "x"}}, "column losses.pixle: the recipe has no such key"),
    ],
)
def test_a_wrong_sweep_gets_one_sentence(tmp_path, capsys, changes, says):
    code = run(["sweep", own(tmp_path, **changes), str(tmp_path / "plan.csv"), "--recipe", MINI])
    said = capsys.readouterr().err
    assert code == ExitCode.USAGE
    assert says in said and said.startswith("ldctpipe: ") and said.strip().count("\n") == 0
    assert not (tmp_path / "plan.csv").exists()


def test_a_change_to_all_runs_may_not_touch_what_the_sweep_varies():
    with pytest.raises(UsageError, match="contradicts the sweep table1, which varies algorithm"):
        plan_sweep(load_sweep("table1"), MINI, ["algorithm.gradient_penalty=3"])


def test_an_unknown_sweep_is_told_of_the_known_ones():
    with pytest.raises(UsageError, match="take one of table1, table2, table3, or give a"):
        load_sweep("table9")


@pytest.mark.parametrize("text", ["a: [1", "", "- 1"])
def test_what_is_no_sweep_is_refused(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"x\.yaml"):
        load_sweep(str(tmp_path / "x.yaml"))

"""The sweep's page: figures over repeats beside the published ones, remarks that follow from the curves, warnings."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from pathlib import Path

import pytest
from sweep_folder_maker import METHOD, collapsing, make_sweep, slow, steady, wavering, write_metrics
from test_page import MOST_BYTES, REMOTE, Outline

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode, InputError
from ldctpipe.recipes.library import load_recipe, recipe_to_yaml
from ldctpipe.reporting.stability_remarks import remark_on
from ldctpipe.reporting.sweep_page import write_sweep_report


@pytest.fixture(scope="module")
def finished_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 1 with a point that collapses, one that wavers, one that is slow; for reading only."""
    folder = tmp_path_factory.mktemp("sweep")
    make_sweep(folder, "table1", {"gp-1": collapsing, "gp-5": wavering, "gp-20": slow})
    return folder


@pytest.fixture
def sweep(finished_sweep: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished_sweep / "runs", tmp_path / "runs")
    return tmp_path


def page(folder: Path) -> Outline:
    write_sweep_report(folder, folder / "sweep.html")
    return Outline((folder / "sweep.html").read_text(encoding="utf-8"))


def points(folder: Path) -> dict[str, dict]:
    content = json.loads((folder / "sweep.json").read_text())
    return {point["name"]: point for point in content["points"]}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_point_is_mean_and_standard_deviation_of_its_trainings(sweep):
    outline = page(sweep)
    scores = [float(row["psnr_db"]) for row in rows(sweep) if row["point"] == "gp-10"]
    assert len(scores) == 3
    own = points(sweep)["gp-10"]["psnr_db"]
    assert own["mean"] == pytest.approx(statistics.mean(scores), abs=1e-5)
    assert own["sd"] == pytest.approx(statistics.stdev(scores), abs=1e-5)
    assert f"{own['mean']:.2f} ± {own['sd']:.2f}" in outline.text
    assert "not over patients" in outline.text


def test_the_published_figures_stand_beside_with_their_difference(sweep):
    outline = page(sweep)
    mean = points(sweep)["gp-10"]["psnr_db"]["mean"]
    assert "33.24 ± 0.15" in outline.text and "0.920 ± 0.005" in outline.text
    assert f"{mean - 33.24:+.2f}".replace("-", "−") in outline.text
    assert "other data, so absolute figures are not comparable" in outline.text


def test_trainings_that_shift_the_lung_are_counted(sweep):
    assert "CT numbers" not in page(sweep).text
    for summary in sweep.glob("runs/gp-10.*/metrics/summary.json"):
        content = json.loads(summary.read_text())
        content["methods"][METHOD]["bias_lung_hu"]["mean"] = -2.6
        summary.write_text(json.dumps(content))
    assert "CT numbers of lung are shifted by more than ±2 HU in 3 of 12 runs" in page(sweep).text


def test_feature_distances_are_over_trainings_too(sweep):
    assert "KID" not in page(sweep).text
    for number, folder in enumerate(sorted(sweep.glob("runs/gp-10.*/metrics"))):
        shutil.rmtree(folder)
        write_metrics(folder, 33.0, fid=10.0 + number)
    outline = page(sweep)
    assert points(sweep)["gp-10"]["fid"] == {"mean": 11.0, "sd": 1.0, "n": 3}
    assert "11.00 ± 1.00" in outline.text and "0.0110 ± 0.0010" in outline.text
    assert [row["fid"] for row in rows(sweep) if row["point"] == "gp-10"] == ["10.0", "11.0", "12.0"]


def test_a_published_fid_stands_beside_and_a_missing_one_is_told(tmp_path):
    make_sweep(tmp_path, "table3", {}, repeats=2, recipe=None)
    outline = page(tmp_path)
    assert "18.70 ± 1.30" in outline.text and "FID was not measured" in outline.text
    folder = tmp_path / "runs" / "red-cnn.seed-1" / "metrics"
    shutil.rmtree(folder)
    write_metrics(folder, 33.0, fid=20.7)
    outline = page(tmp_path)
    assert "+2.00" in outline.text and "FID was not measured" not in outline.text


@pytest.mark.parametrize("slices", [211, 4])
def test_the_same_patient_is_called_so(sweep, slices):
    for folder in sweep.glob("runs/*/metrics"):
        shutil.rmtree(folder)
        write_metrics(folder, 33.0, ("L506",), slices=slices)
    assert ("The same patient." in page(sweep).text) == (slices == 211)


def test_remarks_follow_from_the_curves(sweep):
    page(sweep)
    remarks = {name: point["remark"] for name, point in points(sweep).items()}
    assert remarks["gp-1"].startswith("3 of 3 collapsed, the first at iteration 4,600: validation PSNR fell up to 4.")
    assert remarks["gp-5"].startswith("3 of 3 fluctuating: validation PSNR ± 0.")
    assert remarks["gp-10"] == "3 of 3 stable: critic loss within ±0.5 in 100 % of iterations"
    assert remarks["gp-20"].startswith("3 of 3 stable") and "slow: 90 % of the gain at iteration " in remarks["gp-20"]


def test_a_single_training_is_described_without_counts_or_spread(tmp_path):
    make_sweep(tmp_path, "table1", {"gp-1": collapsing}, repeats=1)
    outline = page(tmp_path)
    assert points(tmp_path)["gp-1"]["remark"].startswith("collapsed at iteration 4,600: validation PSNR fell ")
    assert points(tmp_path)["gp-1"]["psnr_db"]["sd"] is None
    assert "One training a point" in outline.text


def test_a_short_log_is_not_judged(sweep):
    for log in sweep.glob("runs/*/model/training.csv"):
        log.write_text("".join(log.read_text().splitlines(keepends=True)[:5]))
    page(sweep)
    assert {point["remark"] for point in points(sweep).values()} == {
        "3 of 3 too short to judge: 4 validations, 10 needed"
    }


def test_returns_to_a_good_state_are_told(sweep):
    card_file = sweep / "runs" / "gp-10.seed-2" / "model" / "card.json"
    card = json.loads(card_file.read_text())
    card["training"]["rollbacks"] = 2
    card_file.write_text(json.dumps(card))
    page(sweep)
    assert points(sweep)["gp-10"]["remark"].endswith("; 1 of 3 went back to the last good state (2 times)")


def test_failed_runs_are_named_first_and_in_no_figure(sweep):
    shutil.rmtree(sweep / "runs" / "gp-5.seed-2" / "metrics")
    shutil.rmtree(sweep / "runs" / "gp-20.seed-1")
    outline = page(sweep)
    assert (
        "2 of 12 runs failed and are in no figure: gp-5.seed-2 (not measured), gp-20.seed-1 (not trained)"
        in outline.text
    )
    assert outline.text.index("2 of 12 runs failed") < outline.text.index("PSNR (dB)")
    assert (points(sweep)["gp-5"]["psnr_db"]["n"], points(sweep)["gp-5"]["failed"]) == (2, ["gp-5.seed-2"])
    assert points(sweep)["gp-20"]["remark"].startswith("1 of 3 failed; 2 of 2 stable")


def test_a_sweep_of_which_nothing_finished_still_has_its_page(sweep):
    for folder in sweep.glob("runs/*/"):
        shutil.rmtree(folder)
    assert "12 of 12 runs failed" in page(sweep).text
    assert {point["remark"] for point in points(sweep).values()} == {"3 of 3 failed; no training finished"}


def test_points_that_are_one_training_say_so_and_share_its_figures(tmp_path):
    make_sweep(tmp_path, "table2", {}, pretrained=False)
    outline = page(tmp_path)
    assert "w-1-1-0.1 is w-1-1-0.01, w-1-1-0.5 is w-1-1-0.01" in outline.text
    assert points(tmp_path)["w-1-1-0.5"]["psnr_db"] == points(tmp_path)["w-1-1-0.01"]["psnr_db"]
    assert len(rows(tmp_path)) == 18


def test_a_point_that_starts_from_another_says_so(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "name: own\ntitle: Own\ncolumns: {losses.pixel: x}\n"
        "points: [{name: late, init: early, overrides: [losses.pixel=2.0]}, {name: early}]\n"
    )
    make_sweep(tmp_path, str(tmp_path / "own.yaml"), {})
    assert "late: started from early." in page(tmp_path).text
    assert {name: point["init"] for name, point in points(tmp_path).items()} == {"late": "early", "early": None}
    assert {row["run"]: row["init"] for row in rows(tmp_path)}["late.seed-2"] == "early.seed-2"


def test_costs_tell_how_much_data_a_training_saw(sweep):
    def cells(folder: Path) -> list[list[str]]:
        said = write_sweep_report(folder, folder / "sweep.html")
        return [line.split() for line in said.splitlines() if line.startswith("gp-")]

    recipe = load_recipe(
        "wgan-gp-effnetv2-mini", ["algorithm.critic_updates=4", "data.images_per_batch=5", "data.patches_per_image=2"]
    )
    assert (recipe.algorithm.critic_updates, recipe.data.patch_size) == (4, 64)
    (sweep / "runs/gp-10.seed-2/model/recipe.yaml").write_text(recipe_to_yaml(recipe))
    # 10,000 iterations of five batches of ten patches
    (line,) = [line for line in cells(sweep) if line[-1] == "2,048"]
    assert line[0] == "gp-10"
    assert "Mpixel seen" in (sweep / "sweep.html").read_text()


def test_what_limits_the_figures_is_said_once(sweep):
    outline = page(sweep)
    assert outline.text.count("This is the mini recipe") == 1
    assert "Measured on one patient" in outline.text and "Published with wgan-gp-effnetv2, run with" in outline.text


def test_points_closer_than_their_trainings_have_no_order(tmp_path):
    make_sweep(tmp_path, "table1", {})
    for number, folder in enumerate(sorted(tmp_path.glob("runs/*/metrics"))):
        shutil.rmtree(folder)
        write_metrics(folder, 33 + 0.5 * (number % 3))
    assert "this run gives the points no order" in page(tmp_path).text


def test_the_page_is_self_contained_and_reads_well(sweep):
    outline = page(sweep)
    html = (sweep / "sweep.html").read_text(encoding="utf-8")
    assert not REMOTE.search(html) and len(html.encode()) < MOST_BYTES
    (policy,) = [a["content"] for tag, a in outline.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src" not in policy
    assert not [tag for tag, attributes in outline.tags if tag == "script" or "style" in attributes]
    assert all(attributes.get("alt") for tag, attributes in outline.tags if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in outline.tags if tag == "th")
    assert sum(tag == "img" for tag, _ in outline.tags) == 2
    assert sum(tag == "table" for tag, _ in outline.tags) == sum(tag == "caption" for tag, _ in outline.tags) == 4


def test_hostile_text_of_a_sweep_stays_text(sweep):
    hostile = "<script>alert(1)</script>"
    plan_file = sweep / "runs" / "plan.json"
    plan = json.loads(plan_file.read_text())
    plan["sweep"]["title"] = plan["sweep"]["points"][0]["published"]["remark"] = hostile
    plan_file.write_text(json.dumps(plan))
    assert not [tag for tag, _ in page(sweep).tags if tag == "script"]


def test_the_layout_of_a_task_gives_the_same_page(sweep, tmp_path):
    task = tmp_path / "task"
    (task / "runs").mkdir(parents=True)
    shutil.copy(sweep / "runs" / "plan.json", task / "runs")
    for part in ("model", "metrics"):
        for folder in sweep.glob(f"runs/*/{part}"):
            shutil.copytree(folder, task / part / folder.parent.name)
    page(sweep), page(task)
    assert (task / "sweep.html").read_bytes() == (sweep / "sweep.html").read_bytes()


def test_the_command_prints_both_tables(sweep, capsys):
    assert run(["sweep-report", str(sweep), str(sweep / "sweep.html")]) == ExitCode.DONE
    said = capsys.readouterr().out
    assert "33.24 ± 0.15" in said and "3 of 3 collapsed" in said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plan.json", "{"),
        ("gp-1.seed-1/model/card.json", "[]"),
        ("gp-1.seed-1/model/recipe.yaml", "{"),
        ("gp-1.seed-1/model/training.csv", ""),
        ("gp-1.seed-1/model/training.csv", "a,b\n1,2\n"),
        ("gp-1.seed-1/metrics/summary.json", '{"format": "other"}'),
    ],
)
def test_a_damaged_part_is_named(sweep, name, content):
    (sweep / "runs" / name).write_text(content)
    with pytest.raises(InputError, match=Path(name).name):
        write_sweep_report(sweep, sweep / "sweep.html")


def test_no_training_has_no_remark():
    assert remark_on([], 0.5) == "no training finished"


def test_the_same_sweep_gives_the_same_page(tmp_path):
    make_sweep(tmp_path, "table1", {"gp-1": steady})
    first = (page(tmp_path), (tmp_path / "sweep.html").read_bytes())[1]
    assert (page(tmp_path), (tmp_path / "sweep.html").read_bytes())[1] == first

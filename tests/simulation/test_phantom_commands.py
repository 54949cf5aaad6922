"""`ldctpipe phantom` from the command line: every kind is made, found, and usable by the other commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode
from ldctpipe.simulation.cohort import CohortPlan, expose
from ldctpipe.simulation.phantom import noise_free_slices, tube_currents_ma
from ldctpipe.simulation.phantom_choices import Kind, Region
from ldctpipe.simulation.subject import scan

MODULES = [kind for kind in Kind if kind is not Kind.COHORT]


@pytest.mark.parametrize("kind", MODULES)
def test_modules_can_be_inspected_and_simulated(tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: Kind) -> None:
    out = tmp_path / "phantom"
    size = ["--slices", "3", "--realisations", "1", "--size", "192"]
    assert run(["phantom", str(out), "--kind", kind.value, *size, "--seed", "2", "-q"]) == ExitCode.DONE
    capfd.readouterr()

    assert run(["inspect", str(out)]) == ExitCode.DONE
    series = len(list(out.rglob("0001.dcm")))
    assert f"{series} series, {series} can be denoised" in capfd.readouterr().out

    (full_dose, *_) = sorted(out.glob("*_R001/full_dose"))
    assert run(["simulate", str(full_dose), str(tmp_path / "low"), "--dose", "0.5", "-q"]) == ExitCode.DONE
    made = json.loads((out / "phantom.json").read_text())["phantoms"][0]["quanta"]
    (record,) = json.loads((tmp_path / "low" / "simulation.json").read_text())["series"].values()
    assert record["quanta"] == pytest.approx(made, rel=0.25)  # a few small slices


def test_a_cohort_of_all_regions(tmp_path: Path) -> None:
    regions = [word for region in Region for word in ("--region", region.value)]
    small = ["--patients", "4", "--slices", "1", "--size", "64", "--build", "infant", "--arms", "down", "-q"]

    assert run(["phantom", str(tmp_path / "out"), "--like", "mayo", *regions, *small]) == ExitCode.DONE

    patients = json.loads((tmp_path / "out" / "phantom.json").read_text())["patients"]
    assert [patient["region"] for patient in patients] == [region.value for region in Region]
    assert {patient["build"] for patient in patients} == {"infant"}
    assert [patient["arms_down"] for patient in patients] == [True, True, False, False]


@pytest.mark.parametrize("seed", [1, 7, 9])
def test_liver_has_the_noise_of_mayo(seed: int) -> None:
    plan = CohortPlan(seed, slices=1, size=256, regions=("abdomen",))
    patient = plan.patient(0)
    truth, _ = noise_free_slices(patient, 0.775, None)
    model = expose(patient, truth, 0.775, seed)
    full, low = scan(patient.subject, truth, model, tube_currents_ma(patient), 0.25, seed)

    liver_hu = patient.anatomy.phase.liver_hu  # type: ignore[attr-defined]
    liver = scipy.ndimage.binary_erosion(np.abs(truth[0] - liver_hu) < 14, iterations=3)
    assert liver.sum() > 500
    assert 11.0 <= (full - truth)[0][liver].std() <= 13.5
    assert 23.0 <= (low - truth)[0][liver].std() <= 28.0


@pytest.mark.parametrize("absurd", [("--size", "1000000"), ("--size", "4096", "--slices", "1000000")])
@pytest.mark.parametrize("kind", ["cohort", "water"])
def test_sizes_are_judged_before_memory_is_taken(tmp_path: Path, capfd, kind: str, absurd: tuple[str, ...]) -> None:
    assert run(["phantom", str(tmp_path / "out"), "--kind", kind, *absurd]) == ExitCode.USAGE
    assert "slices of" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()

"""The whole chain for real on a tiny cohort: raw DICOM to report, resumed, interrupted, and given bad input."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pydicom
import pytest
from nextflow_run import REPOSITORY, Run, command_of, run_nextflow

from ldctpipe.dicom.deidentification import Deidentifier

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]
EPOCH = "1700000000"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One finished run of the profile `test`, at a fixed time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH)
        run = run_nextflow(tmp_path_factory.mktemp("chain"), "-profile", "test,cpu")
    assert run.code == 0, run.said
    return run


def test_held_out_patient_is_denoised_as_derived_dicom(finished: Run) -> None:
    sources = [
        pydicom.dcmread(path) for path in sorted((finished.results / "cohort" / "quarter_3mm" / "L003").rglob("*.IMA"))
    ]
    denoised = [pydicom.dcmread(path) for path in sorted((finished.results / "denoised" / "L003").glob("*.dcm"))]
    assert len(denoised) == len(sources) == 4
    assert {image.ImageType[0] for image in denoised} == {"DERIVED"}
    assert {image.FrameOfReferenceUID for image in denoised} == {image.FrameOfReferenceUID for image in sources}
    assert sorted(image.ImagePositionPatient[2] for image in denoised) == sorted(
        image.ImagePositionPatient[2] for image in sources
    )
    assert not {image.SOPInstanceUID for image in denoised} & {image.SOPInstanceUID for image in sources}


def test_only_the_held_out_patient_is_measured_and_none_of_it_was_trained_on(finished: Run) -> None:
    with (finished.results / "metrics" / "slices.csv").open(newline="") as stream:
        assert {row["patient"] for row in csv.DictReader(stream)} == {"L003"}
    card = json.loads((finished.results / "model" / "card.json").read_text())
    assert set(card["data"]["patients"]) == {"L001", "L002"}


def test_run_ends_with_the_table_and_the_path_of_the_report(finished: Run) -> None:
    table = (finished.results / "metrics" / "table.txt").read_text().strip()
    assert table in finished.stdout
    assert finished.stdout.strip().splitlines()[-1] == f"Report: {finished.results}/report.html"
    assert "<html" in (finished.results / "report.html").read_text()[:500].lower()


def test_record_names_versions_and_every_task_ran_once(finished: Run) -> None:
    record = json.loads((finished.results / "run.json").read_text())
    assert record["success"] is True
    assert record["versions"]["TRAIN"].startswith("ldctpipe ")
    assert {(row["status"], row["exit"]) for row in finished.trace()} == {("COMPLETED", "0")}


def test_finished_run_verifies_and_one_changed_image_does_not(finished: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished.results, copy)
    verify = [str(REPOSITORY / "bin" / "ldctpipe"), "verify", str(copy)]
    assert subprocess.run(verify, check=False).returncode == 0
    image = next((copy / "denoised").rglob("*.dcm"))
    image.write_bytes(image.read_bytes() + b"\0")

    done = subprocess.run(verify, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (65, f"altered: {image.relative_to(copy)}\n")


def test_two_runs_with_one_seed_give_the_same_metrics_images_and_weights(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)

    again = run_nextflow(tmp_path, "-profile", "test,cpu")

    for pattern in ("metrics/*", "denoised/**/*.dcm", "cohort/**/*.IMA", "model/*.safetensors", "model/recipe.yaml"):
        first, second = (
            {path.relative_to(run.results): path.read_bytes() for path in run.results.glob(pattern)}
            for run in (finished, again)
        )
        assert first
        assert first == second, pattern


def test_resumed_run_redoes_nothing(finished: Run) -> None:
    again = run_nextflow(finished.folder, "-profile", "test,cpu", "-resume")
    assert {row["status"] for row in again.trace()} == {"CACHED"}


def test_bundle_denoises_a_folder_of_patients_without_training(finished: Run, tmp_path: Path) -> None:
    for patient in ("first", "second"):
        shutil.copytree(finished.results / "cohort" / "quarter_3mm" / "L003", tmp_path / "scans" / patient)
    key = tmp_path / "site.key"
    key.write_text(64 * "5")
    run = run_nextflow(
        tmp_path, "-profile", "cpu", "--workflow", "denoise", "--input", "scans", "--blend", "0",
        "--model", str(finished.results / "model"), "--nifti", "true", "--deidentification_key", str(key),
    )  # fmt: skip
    assert run.code == 0, run.said
    source = {pydicom.dcmread(path).PixelData for path in (tmp_path / "scans" / "first").rglob("*.IMA")}
    published = [Deidentifier(key.read_bytes()).published_name(patient) for patient in ("first", "second")]
    assert {path.name for path in (run.results / "denoised").iterdir()} == set(published)
    for patient in published:
        images = [pydicom.dcmread(path) for path in (run.results / "denoised" / patient).glob("*.dcm")]
        assert {image.PixelData for image in images} == source, "a blend of 0 is the source to the bit"
        assert {image.PatientIdentityRemoved for image in images} == {"YES"}
        assert len(list((run.results / "denoised" / patient).glob("*.nii.gz"))) == 1


def test_relative_paths_of_a_sheet_and_a_patient_that_cannot_be_denoised_do_no_harm_to_the_others(
    finished: Run, tmp_path: Path
) -> None:
    cohort = finished.results / "cohort" / "quarter_3mm"
    for patient in ("whole", "refused"):
        shutil.copytree(cohort / "L003", tmp_path / "scans" / patient)
    for path in (tmp_path / "scans" / "refused").rglob("*.IMA"):
        image = pydicom.dcmread(path)
        image.RescaleIntercept = 0  # soft tissue far from 0: no HU
        image.save_as(path)
    (tmp_path / "scans" / "broken").mkdir()
    (tmp_path / "scans" / "broken" / "x.dcm").write_text("this is no DICOM")
    names = ("broken", "refused", "whole")
    rows = "".join(f"{name},{name},,test\n" for name in names)
    (tmp_path / "scans" / "sheet.csv").write_text(f"patient,low_dose,full_dose,split\n{rows}")
    run = run_nextflow(
        tmp_path, "-profile", "cpu", "--workflow", "denoise", "--input", "scans/sheet.csv",
        "--model", str(finished.results / "model"),
    )  # fmt: skip
    assert run.code != 0
    assert json.loads((run.results / "run.json").read_text())["success"] is False
    assert [path.name for path in (run.results / "denoised").iterdir()] == ["whole"]
    assert "\nrefused: refused: series " in run.stdout
    assert "\nbroken: refused: " in run.stdout
    assert run.stdout.strip().splitlines()[-1].startswith("ldctpipe: 1 of 3 series of 3 patients denoised ")
    assert [row["exit"] for row in run.trace() if row["process"] == "DENOISE_GROUP"] == ["0"]


def test_full_dose_only_gets_its_partner_and_a_broken_file_ends_the_run_with_one_sentence(
    finished: Run, tmp_path: Path
) -> None:
    full_dose = finished.results / "cohort" / "full_3mm"
    low, full = tmp_path / "low", tmp_path / "full"
    for broken in (low, full):
        broken.mkdir()
        (broken / "x.dcm").write_text("this is no DICOM")
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(
        f"patient,low_dose,full_dose,split\nA,,{full_dose / 'L001' / 'full_3mm'},train\nB,{low},{full},test\n"
    )
    run = run_nextflow(tmp_path, "-profile", "cpu", "--input", str(sheet), "--recipe", "wgan-gp-effnetv2-mini")
    assert run.code != 0
    last = run.stdout.strip().splitlines()[-1]
    assert last.startswith("ldctpipe: "), run.said
    assert "Traceback" not in run.said
    states = {row["process"]: row["status"] for row in run.trace()}
    assert states["SIMULATE"] == "COMPLETED"
    assert json.loads((run.results / "run.json").read_text())["success"] is False


def test_interrupted_training_is_retried_from_its_checkpoint(finished: Run, tmp_path: Path) -> None:
    cohort = finished.results / "cohort"
    arguments = ("-profile", "test,cpu", "--input", str(cohort), "--iterations", "20")
    log = tmp_path / "log"
    with log.open("w") as stream, subprocess.Popen(command_of(*arguments), cwd=tmp_path, stdout=stream) as head:
        try:
            _wait_for_checkpoint(tmp_path, head)
            _training_process(head).send_signal(signal.SIGTERM)
            assert head.wait(timeout=600) == 0, log.read_text()
        finally:
            head.terminate()
    attempts = [row for row in Run(tmp_path, 0, "", "").trace() if row["process"] == "TRAIN"]
    assert [(row["status"], row["exit"]) for row in attempts] == [("FAILED", "75"), ("COMPLETED", "0")]
    with (tmp_path / "results" / "model" / "training.csv").open(newline="") as stream:
        iterations = [int(row["iteration"]) for row in csv.DictReader(stream)]
    assert iterations == sorted(set(iterations)), "the second attempt goes on where the first stopped"


def _wait_for_checkpoint(folder: Path, head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 400
    while not list(folder.glob("work/checkpoints/*/iteration-*.pt")):
        assert head.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _training_process(head: subprocess.Popen[bytes]) -> psutil.Process:
    children = psutil.Process(head.pid).children(recursive=True)
    return next(child for child in children if "python" in child.cmdline()[0] and "train" in child.cmdline())

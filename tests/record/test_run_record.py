"""`ldctpipe record` and `checksums`: the record of a run, read by programs that are not ours."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rocrate.rocrate import ROCrate

from ldctpipe.cli.app import run as run_command
from ldctpipe.record.checksums import summary_of_scan
from ldctpipe.record.verification import verify

RECORD: dict[str, Any] = {
    "pipeline": {"name": "ldctpipe", "version": "0.1.0", "revision": None},
    "command_line": "nextflow run main.nf",
    "parameters": {"workflow": "train", "seed": 7, "dose": 0.25, "nifti": False, "model": None, "set": []},
    "session": "4f3e",
    "started": "2026-11-25T19:16:53.826273287Z",
    "finished": "2026-11-25T19:17:34.017913867Z",
    "success": True,
    "error": None,
    "container_images": {"localhost/ldctpipe:latest": "sha256:" + 64 * "a"},
    "versions": {"nextflow": "24.10.0"},
}


def results(folder: Path, bundle: Path, **changes: Any) -> Path:
    info = folder / "pipeline_info"
    (info / "inputs").mkdir(parents=True)
    (info / "main.nf").write_text("workflow {}\n")
    scans = {"full_dose": {"files": 2, "bytes": 10, "sha256": 64 * "b"}}
    (info / "inputs" / "L001.json").write_text(json.dumps({"patient": "L001", "scans": scans}))
    shutil.copytree(bundle, folder / "model")
    (folder / "denoised" / "L 001").mkdir(parents=True)
    for number in range(3):
        (folder / "denoised" / "L 001" / f"{number}.dcm").write_bytes(b"image")
    (folder / "run.json").write_text(json.dumps({**RECORD, **changes}))
    return folder


def test_record_has_recipe_and_inputs_and_everything_is_under_a_checksum(tmp_path: Path, tiny_bundle: Path) -> None:
    run = results(tmp_path / "run", tiny_bundle)

    assert run_command(["record", str(run), "--quiet"]) == 0

    record = json.loads((run / "run.json").read_text())
    assert record["recipes"]["model/recipe.yaml"]["content"]["generator"]["network"].startswith("efficientnetv2_unet.")
    assert record["inputs"]["scans"]["L001"]["full_dose"]["sha256"] == 64 * "b"
    listed = set(json.loads((run / "checksums.json").read_text())["files"])
    there = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert listed == there - {"checksums.json"}
    assert not verify(run).faults


def test_recording_twice_gives_the_same_bytes(tmp_path: Path, tiny_bundle: Path) -> None:
    run = results(tmp_path / "run", tiny_bundle)
    first, second = [
        {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        for _ in range(2)
        if run_command(["record", str(run), "--quiet"]) == 0
    ]
    assert first == second


def test_a_second_library_reads_the_crate_with_its_workflow_run_and_images(tmp_path: Path, tiny_bundle: Path) -> None:
    run = results(tmp_path / "run", tiny_bundle)
    run_command(["record", str(run), "--quiet"])

    crate = ROCrate(run)

    assert crate.mainEntity.type == ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    action = crate.get("#run")
    assert action["instrument"] is crate.mainEntity
    assert {value["name"]: value["value"] for value in action["object"]} == {
        "workflow": "train", "seed": 7, "dose": 0.25, "nifti": False,
    }  # fmt: skip
    kinds = {value["name"]: value["exampleOfWork"]["additionalType"] for value in action["object"]}
    assert kinds == {"workflow": "Text", "seed": "Integer", "dose": "Float", "nifti": "Boolean"}
    assert action["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert action["endTime"] == "2026-11-25T19:17:34+00:00"
    assert action["containerImage"][0]["sha256"] == 64 * "a"
    assert crate.get("denoised/L%20001/").type == "Dataset"
    parts = {part.id for part in crate.root_dataset["hasPart"]}
    assert {"model/model.safetensors", "run.json", "pipeline_info/main.nf", "denoised/L%20001/"} <= parts
    assert not [part for part in crate.root_dataset["hasPart"] if isinstance(part, str)], "each part is described"


def test_every_entity_that_the_crate_names_is_in_it(tmp_path: Path, tiny_bundle: Path) -> None:
    run = results(tmp_path / "run", tiny_bundle)
    run_command(["record", str(run), "--quiet"])
    graph = json.loads((run / "ro-crate-metadata.json").read_text())["@graph"]
    there = {entity["@id"] for entity in graph}
    assert len(there) == len(graph), "no entity is there twice"
    assert {name for name in _references(graph) if not name.startswith("http")} <= there


def _references(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_references, value))
    if not isinstance(value, dict):
        return set()
    if set(value) == {"@id"}:
        return {value["@id"]}
    return set().union(*map(_references, value.values()))


def test_a_run_that_failed_has_a_crate_that_says_why(tmp_path: Path, tiny_bundle: Path) -> None:
    run = results(tmp_path / "run", tiny_bundle, success=False, error="TRAIN failed: ldctpipe: no slice shows a body.")
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "denoised")

    assert run_command(["record", str(run), "--quiet"]) == 0

    action = ROCrate(run).get("#run")
    assert action["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert action["error"] == "TRAIN failed: ldctpipe: no slice shows a body."


def test_the_work_folder_inside_of_the_results_is_no_part_of_them(tmp_path: Path, tiny_bundle: Path) -> None:
    run = results(tmp_path / "run", tiny_bundle, work_folder=str(tmp_path / "run" / "work"))
    (run / "work").mkdir()
    (run / "work" / "big").write_bytes(b"intermediate")
    run_command(["record", str(run), "--quiet"])
    (run / "work" / "bigger").write_bytes(b"later")
    assert not verify(run).faults


def test_a_folder_that_is_no_run_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["record", str(tmp_path)]) == 65
    assert "is missing, so this is not the output folder of a pipeline run" in capsys.readouterr().err


def test_checksum_of_a_scan_is_what_coreutils_print_and_knows_no_names(tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    (scan / "DOE^JANE").mkdir(parents=True)
    for number in range(5):
        (scan / "DOE^JANE" / f"{number}.dcm").write_bytes(bytes([number]) * 1000)
    pipe = f"find {scan} -type f -exec sha256sum {{}} + | cut -c1-64 | sort | sha256sum"
    printed = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, check=True).stdout.split()[0]

    told = summary_of_scan(scan)
    (scan / "DOE^JANE").rename(scan / "renamed")

    assert told == {"files": 5, "bytes": 5000, "sha256": printed}
    assert summary_of_scan(scan) == told

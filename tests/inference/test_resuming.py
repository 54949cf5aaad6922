"""Interrupted and repeated jobs: nothing that is done is lost, redone or changed, and nothing half-done stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_dicom import write_series

from ldctpipe.dicom.dicomweb import PacsError
from ldctpipe.errors import InputError
from ldctpipe.files import sha256_of_file
from ldctpipe.inference import delivery
from ldctpipe.inference.denoise import DenoiseRequest, DenoiseResult, denoise
from ldctpipe.recipes.bundle import read_bundle, write_bundle


def cohort(folder: Path, patients: int, series: int = 1) -> Path:
    """Write `patients` scans of `series` series each."""
    for patient in range(patients):
        for number in range(series):
            uid = f"1.2.3.{patient + 1}.{number + 1}"
            own = {"SeriesInstanceUID": uid, "StudyInstanceUID": f"1.2.4.{patient + 1}", "SeriesNumber": number + 1}
            write_series(folder / f"p{patient}" / f"s{number}", uid_root=uid, PatientID=f"MRN-{patient}", **own)
    return folder


def run(source: Path, out: Path, model: Path, **options) -> DenoiseResult:
    return denoise(DenoiseRequest(source, out, model, device="cpu", **options))


def states(result: DenoiseResult) -> list[str]:
    return sorted(outcome.state for outcome in result.outcomes)


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of_file(path) for path in folder.rglob("*") if path.is_file()}


def test_a_killed_run_goes_on_where_it_was(tiny_bundle, tmp_path):
    source, out = cohort(tmp_path / "scans", 3), tmp_path / "out"
    dying = (
        "import os, signal, sys\n"
        "from ldctpipe.cli.app import main\n"
        "import ldctpipe.inference.denoise as module\n"
        "write, calls = module.write_derived_series, []\n"
        "def dies_in_the_second(*arguments, **options):\n"
        "    calls.append(write(*arguments, **options))\n"
        "    if len(calls) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return calls[-1]\n"
        "module.write_derived_series = dies_in_the_second\n"
        "sys.argv = ['ldctpipe', *sys.argv[1:]]\n"
        "main()\n"
    )
    command = ["denoise", str(source), str(out), "--model", str(tiny_bundle), "--device", "cpu"]
    assert subprocess.run([sys.executable, "-c", dying, *command], check=False).returncode == -signal.SIGKILL
    before = content(out)
    assert any(".partial" in name for name in before)

    second = run(source, out, tiny_bundle)

    assert states(second) == ["denoised", "denoised", "done before"]
    after = content(out)
    assert len(list(out.iterdir())) == 3
    assert {name: after[name] for name in before if ".partial" not in name}.items() <= before.items()


def test_what_is_written_again_has_the_same_bytes(tiny_bundle, tmp_path):
    source, out = cohort(tmp_path / "scans", 1, series=2), tmp_path / "out"
    run(source, out, tiny_bundle)
    before = content(out)
    altered = sorted(out.glob("*.dcm"))[0]
    altered.write_bytes(altered.read_bytes()[:2000])
    time.sleep(1.1)  # into another second, which is what a time stamp would show

    again = run(source, out, tiny_bundle)

    assert states(again) == ["denoised", "done before"]
    after = content(out)
    assert {name for name in before if before[name] != after[name]} <= {"manifest.json"}  # which has the seconds taken


def test_a_source_that_changed_is_denoised_again(tiny_bundle, tmp_path):
    source, out = cohort(tmp_path / "scans", 1, series=2), tmp_path / "out"
    run(source, out, tiny_bundle)
    changed = next((source / "p0" / "s0").iterdir())
    os.utime(changed, ns=(0, 0))

    assert states(run(source, out, tiny_bundle)) == ["denoised", "done before"]


def test_an_archive_is_the_same_source_each_time(tiny_bundle, tmp_path):
    cohort(tmp_path / "scans", 1)
    archive = Path(shutil.make_archive(str(tmp_path / "scans"), "zip", tmp_path / "scans"))
    run(archive, tmp_path / "out", tiny_bundle)

    assert states(run(archive, tmp_path / "out", tiny_bundle)) == ["done before"]


def test_series_of_an_earlier_input_stay(tiny_bundle, tmp_path):
    source, out = cohort(tmp_path / "scans", 1, series=2), tmp_path / "out"
    run(source / "p0" / "s0", out, tiny_bundle)

    assert states(run(source / "p0" / "s1", out, tiny_bundle)) == ["denoised"]

    assert len(list(out.glob("*.dcm"))) == 6
    assert states(run(source, out, tiny_bundle)) == ["done before", "done before"]


def test_a_patient_keeps_his_folder_when_another_study_is_found(tiny_bundle, tmp_path):
    source, out = cohort(tmp_path / "scans", 2), tmp_path / "out"
    run(source, out, tiny_bundle)
    folders = sorted(out.iterdir())
    uid = "1.2.3.1.9"
    own = {"SeriesInstanceUID": uid, "StudyInstanceUID": "1.1.1"}  # sorts before the study that is there
    write_series(source / "p0" / "earlier", uid_root=uid, PatientID="MRN-0", **own)

    assert states(run(source, out, tiny_bundle)) == ["denoised", "done before", "done before"]
    assert sorted(out.iterdir()) == folders


def test_one_patients_output_is_not_mixed_with_several_patients(tiny_bundle, tmp_path):
    source, out = cohort(tmp_path / "scans", 2), tmp_path / "out"
    run(source / "p0", out, tiny_bundle)
    before = content(out)

    for overwrite in (False, True):
        with pytest.raises(InputError, match="output of one patient"):
            run(source, out, tiny_bundle, overwrite=overwrite)

    assert content(out) == before


def test_two_patients_are_never_mixed_in_one_folder(tiny_bundle, tmp_path):
    source, out = cohort(tmp_path / "scans", 2), tmp_path / "out"
    run(source / "p0", out, tiny_bundle)
    before = content(out)

    with pytest.raises(InputError, match="output of another patient"):
        run(source / "p1", out, tiny_bundle)

    assert content(out) == before


def test_values_that_are_no_numbers_are_never_written(tiny_bundle, tmp_path):
    source, broken = cohort(tmp_path / "scans", 1), tmp_path / "model"
    shutil.copytree(tiny_bundle, broken)
    state = load_file(broken / "model.safetensors")
    state["head.weight"] = torch.full_like(state["head.weight"], 3e38)  # overflows
    save_file(state, broken / "model.safetensors")
    write_bundle(broken, read_bundle(tiny_bundle).recipe, {"notes": []})

    result = run(source, tmp_path / "out", broken)

    assert [(outcome.state, "no numbers" in outcome.reason) for outcome in result.outcomes] == [("refused", True)]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.json"]


def test_a_series_that_the_archive_refuses_keeps_no_other_back(tiny_bundle, tmp_path, monkeypatch):
    source, out, taken = cohort(tmp_path / "scans", 3), tmp_path / "out", []
    run(source, out, tiny_bundle)
    manifests = sorted(out.glob("*/manifest.json"))
    refused = manifests[0].parent

    def push(files, url, *, on_sent):
        if files[0].parent == refused:
            raise PacsError("pacs", "does not want it", "ask why")
        taken.append(files[0].parent)
        on_sent(len(files))

    monkeypatch.setattr(delivery, "push", push)
    for _ in range(2):
        with pytest.raises(PacsError, match="does not want it"):
            delivery.deliver(manifests, "http://localhost:1/dicom-web")

    assert taken == [path.parent for path in manifests[1:]], "each once, in spite of the first and of a second run"
    sent = [json.loads(path.read_text())["series"][0]["sent_to"] for path in manifests]
    assert sent == [[], ["http://localhost:1/dicom-web"], ["http://localhost:1/dicom-web"]]


def test_a_nifti_killed_before_its_manifest_is_done_again(tiny_bundle, real_data, tmp_path):
    from ldctpipe.dicom.discovery import discover
    from ldctpipe.dicom.reading import read_volume
    from ldctpipe.volumes.nifti import write_nifti

    volume = read_volume(discover(real_data / "body" / "A002304").series[0])
    (tmp_path / "scans").mkdir()
    write_nifti(tmp_path / "scans" / "scan.nii.gz", volume.hu, volume.affine)
    request = DenoiseRequest(tmp_path / "scans", tmp_path / "out", tiny_bundle, device="cpu")
    denoise(request)
    manifest = tmp_path / "out" / "scan.nii.gz.manifest.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**told, "series": []}))  # as it is while the volume is written

    assert states(denoise(request)) == ["denoised"]
    assert json.loads(manifest.read_text())["series"][0]["files"] == told["series"][0]["files"]
    assert states(denoise(replace(request, overwrite=False))) == ["done before"]

"""2,000 files in one folder, most of them damaged: every one is in a series, skipped with a reason, or passed over."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

import nibabel
import numpy as np
import pytest
from accounting import DICOM_SUFFIXES
from corpus import corpus, encoded, synthetic_series
from mutations import mutated
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless
from small_dicom import body, ct_dataset

from ldctpipe.dicom.series import series_key
from ldctpipe.errors import ExitCode

FILES = 2000
SOUND_SLICES = 25
SOUND = {701: ExplicitVRLittleEndian, 702: ImplicitVRLittleEndian, 703: JPEGLSLossless}
WITHOUT_HU = "1.2.826.0.1.3680043.8.498.77.799"
_OTHER_FILES = 60
_ADDRESS_SPACE_BYTES = 6 << 30
_NAMES = ["{}.dcm", "{}", "{}.IMA", "{}.bin"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Run:
    """A finished command."""

    code: int
    output: str
    errors: str


def ldctpipe(*arguments: str | Path) -> Run:
    """Run a command in a process that can't map more than 6 GiB and gets two minutes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))

    command = [sys.executable, "-m", "ldctpipe.cli.app", *map(str, arguments), "--threads", "2"]
    few_threads = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each maps memory of its own
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, preexec_fn=limit, timeout=120, env=few_threads
    )
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sound series and one without HU, files that are no DICOM, and damaged ones, in an order of chance."""
    random = Random(20)
    sound = [synthetic_series(syntax, number, SOUND_SLICES) for number, syntax in SOUND.items()]
    contents = [content for specimen in sound for content in specimen.files]
    contents.append(encoded(ct_dataset(body(), SeriesInstanceUID=WITHOUT_HU, RescaleIntercept=0)))
    contents += [random.randbytes(random.randint(0, 3000)) for _ in range(_OTHER_FILES)]
    small = [specimen for specimen in corpus() if sum(map(len, specimen.files)) < 100_000]
    large = [specimen for specimen in corpus() if specimen not in small]
    for number in range(FILES - len(contents)):
        specimen = random.choice(large if large and number % 25 == 0 else small)
        contents.append(mutated(random, random.choice(specimen.files)))
    random.shuffle(contents)
    root = tmp_path_factory.mktemp("mutated") / "in"
    for number, content in enumerate(contents):
        path = root / f"{number % 7}" / random.choice(_NAMES).format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def passed_over(folder: Path) -> set[str]:
    """Return what neither is nor claims to be DICOM (PS3.10 §7.1: the mark DICM behind 128 bytes)."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == FILES
    return {
        str(path.relative_to(folder))
        for path in files
        if path.read_bytes()[128:132] != b"DICM" and path.suffix.lower() not in DICOM_SUFFIXES
    }


def no_such_number(text: str) -> float:
    raise AssertionError(f"{text} is no JSON")


def test_inspect_accounts_for_every_file(folder: Path) -> None:
    run = ldctpipe("inspect", folder, "--json", "--list-skipped")

    assert run.code == ExitCode.DONE, run.errors
    assert "Traceback" not in run.errors
    assert "Warning" not in run.errors, "a library talks about values of the files"
    found = json.loads(run.output, parse_constant=no_such_number)
    left_out = {one["file"]: one["reason"] for one in found["skipped_files"]}
    assert len(left_out) == sum(found["skipped"].values())
    assert not passed_over(folder) & left_out.keys()
    assert sum(series["slices"] for series in found["series"]) + len(left_out) + len(passed_over(folder)) == FILES
    assert all(reason.isprintable() and len(reason) > 8 for reason in left_out.values())
    assert len(found["skipped"]) > 10


def test_ingest_reads_what_is_sound_and_accounts_for_the_rest(folder: Path, tmp_path: Path) -> None:
    series = json.loads(ldctpipe("inspect", folder, "--json").output)["series"]

    run = ldctpipe("ingest", folder, tmp_path / "cases", "--keep-going")

    assert run.code == ExitCode.DONE, run.errors
    assert "Traceback" not in run.errors
    assert "Warning" not in run.errors, "a library talks about values of the files"
    described = json.loads((tmp_path / "cases" / "ingest.json").read_text(), parse_constant=no_such_number)
    written = {one["key"] for one in described["series"]}
    assert written | set(described["refused"]) == {one["key"] for one in series if one["slices"]}
    assert not written & set(described["refused"])
    assert all(len(reason) > 8 for reason in described["refused"].values())
    for number in SOUND:
        key = series_key(f"1.2.826.0.1.3680043.8.498.77.{number}")
        hu = np.asarray(nibabel.load(tmp_path / "cases" / key / "volume.nii").dataobj)
        expected = np.stack([body(index, (36, 40)).astype(int) - 1024 for index in range(SOUND_SLICES)], axis=-1)
        np.testing.assert_array_equal(hu, expected.transpose(1, 0, 2))


def test_without_keep_going_the_exit_code_tells_of_refused_series(folder: Path, tmp_path: Path) -> None:
    run = ldctpipe("ingest", folder, tmp_path / "cases")

    assert run.code == ExitCode.INPUT
    assert "series refused" in run.errors.splitlines()[-1]
    described = json.loads((tmp_path / "cases" / "ingest.json").read_text())
    assert "soft tissue" in described["refused"][series_key(WITHOUT_HU)]

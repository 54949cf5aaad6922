"""What a wrong parameter gets: one sentence and code 2, before any task starts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from nextflow_run import REPOSITORY, Run

from ldctpipe.dicom.dicomweb import PASSWORD, TOKEN, USER

pytestmark = pytest.mark.pipeline
SCHEMA = json.loads((REPOSITORY / "nextflow_schema.json").read_text())
PROPERTIES: dict[str, dict[str, Any]] = {
    name: described for group in SCHEMA["$defs"].values() for name, described in group["properties"].items()
}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "--input is missing; give a cohort folder"),
        (("--inputt", "x"), "--inputt is not a parameter; did you mean --input?"),
        (("--phantom-patients", "3"), "--phantom-patients is not a parameter; did you mean --phantom_patients?"),
        (("--input", "/no/such/folder"), "--input /no/such/folder does not exist"),
        (("--workflow", "trian"), "--workflow trian is not one of train, denoise, sweep"),
        (
            ("--workflow", "sweep", "--phantom_patients", "3"),
            "--sweep is missing; give table1, table2, table3 or the .yaml file",
        ),
        (
            ("--workflow", "sweep", "--phantom_patients", "3", "--sweep", "table9"),
            "--sweep table9 does not exist; give table1, table2, table3 or the .yaml file",
        ),
        (
            ("--workflow", "sweep", "--phantom_patients", "3", "--sweep", "no.yaml"),
            "--sweep no.yaml does not exist; give table1",
        ),
        (
            ("--workflow", "sweep", "--phantom_patients", "3", "--sweep", "table1", "--nifti"),
            "--nifti is about denoised images",
        ),
        (
            ("--phantom_patients", "3", "--sweep", "table1"),
            "--sweep is a table of trainings; it goes with --workflow sweep",
        ),
        (("--workflow", "sweep", "--sweep", "table1"), "--input is missing; give a cohort folder"),
        (("--phantom_patients", "3", "--repeats", "0"), "--repeats 0 is below 1"),
        (("--workflow", "denoise"), "--input is missing; give the folder of scans"),
        (("--workflow", "denoise", "--input", "."), "--model is missing; give the denoiser bundle"),
        (
            ("--workflow", "denoise", "--input", ".", "--model", ".", "--deidentification_mapping", "names.csv"),
            "--deidentification_mapping has no effect without --deidentification_key",
        ),
        (
            (
                "--workflow",
                "denoise",
                "--input",
                ".",
                "--model",
                ".",
                "--deidentification_key",
                ".",
                "--deidentification_mapping",
                "results/names.csv",
            ),
            "--deidentification_mapping would lie among the results",
        ),
        (
            ("--workflow", "denoise", "--input", ".", "--model", ".", "--keep_private", "--deidentification_key", "."),
            "--keep_private and --deidentification_key contradict each other",
        ),
        (
            ("--phantom_patients", "3", "--no_pretrained", "--perceptual_weights", "."),
            "--no_pretrained and --perceptual_weights contradict each other",
        ),
        (
            ("--input", "no\nsuch\x1b[31m"),
            "--input no\\u000asuch\\u001b[31m does not exist",
        ),
        (
            ("-profile", "podman", "--input", "[1]"),
            "--input [1] has a character in its path that can't be handed to a container",
        ),
        (("--input", os.fsdecode(b"M\xfcller")), "--input M\\ufffdller has a name that is not text in UTF-8"),
        (
            ("-work-dir", "w$(id)", "--phantom_patients", "3"),
            "{folder}/w$(id): has a character in its path that no task's script can hold; name another with -work-dir",
        ),
        (("--phantom_patients", "two"), "--phantom_patients two is not a whole number"),
        (("--phantom_patients", "3", "--dose", "2"), "--dose 2 is above 1"),
        (("--phantom_patients", "3", "--dose_range", "low"), "--dose_range low holds a character that is not allowed"),
        (("--phantom_patients", "3", "--recipe", "nix"), "--recipe nix does not exist; there are bilateral, bm3d, "),
        (("--phantom_patients", "3", "--protocol", "nix"), "--protocol nix does not exist; there are mayo-soft@1, "),
        (
            ("--phantom_patients", "3", "--needed_space", "much"),
            "--needed_space much holds a character that is not allowed",
        ),
        (("--phantom_patients", "3", "--set", "a='$(id)'"), "--set a='$(id)' holds a character that is not allowed"),
    ],
)
def test_wrong_parameter_gets_one_sentence(
    nextflow: Callable[..., Run], arguments: tuple[str, ...], sentence: str
) -> None:
    run = nextflow(*arguments)
    assert run.code == 2
    assert f"ldctpipe: {sentence.replace('{folder}', str(run.folder))}" in run.stderr
    assert run.stderr.strip().count("\n") == 0, "one sentence and nothing else"
    assert "process >" not in run.said


@pytest.mark.parametrize("address", ["https://anna:s3cret@pacs/dicom-web", "https://s3cret@pacs", "anna:s3cret@pacs"])
def test_credentials_in_the_address_of_a_pacs_are_refused_and_not_repeated(
    nextflow: Callable[..., Run], address: str
) -> None:
    run = nextflow("--workflow", "denoise", "--input", ".", "--model", ".", "--push", address)

    assert run.code == 2
    assert run.stderr.startswith("ldctpipe: --push holds credentials, which all users of the machine could read; ")
    for variable in (USER, PASSWORD, TOKEN):
        assert variable in run.stderr
    assert run.stderr.strip().count("\n") == 0
    assert "s3cret" not in run.said


def test_schemas_are_json_schema_and_say_what_a_samplesheet_holds() -> None:
    sheet = json.loads((REPOSITORY / PROPERTIES["input"]["schema"]).read_text())
    for schema in (SCHEMA, sheet):
        Draft202012Validator.check_schema(schema)
    assert all(column in PROPERTIES["input"]["description"] for column in sheet["items"]["properties"])


def test_help_names_every_parameter_with_its_meaning(nextflow: Callable[..., Run]) -> None:
    said = nextflow("--help").stdout
    for name, described in PROPERTIES.items():
        assert f"--{name} " in said
        assert described["description"] in said


def test_schema_and_configuration_agree() -> None:
    command = [str(REPOSITORY / "bin" / "nextflow"), "config", "-flat", str(REPOSITORY)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = (line.partition(" = ") for line in said.splitlines() if line.startswith("params."))
    defaults = {name.removeprefix("params."): value.strip("'") for name, _, value in lines}
    assert set(defaults) == set(PROPERTIES)
    for name, described in PROPERTIES.items():
        wanted = described.get("default")
        if name != "max_cpus":  # as many as the machine has
            assert defaults[name] == (
                "null" if wanted is None else str(wanted).lower() if isinstance(wanted, bool) else str(wanted)
            )


@pytest.mark.parametrize("profiles", ["test,cpu,docker", "demo,gpu,apptainer", "singularity", "test,slurm,podman,gpu"])
def test_profiles_resolve(profiles: str) -> None:
    command = [str(REPOSITORY / "bin" / "nextflow"), "config", "-profile", profiles, str(REPOSITORY)]
    assert "withLabel:gpu" in subprocess.run(command, capture_output=True, text=True, check=True).stdout

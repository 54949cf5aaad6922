"""A run's output folder as an RO-Crate 1.1 of the profile Workflow Run Crate 0.5, so that an archive understands it.

https://www.researchobject.org/workflow-run-crate/profiles/workflow_run_crate
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

CRATE = "ro-crate-metadata.json"
MAIN_WORKFLOW = "pipeline_info/main.nf"

_RUN_TERMS = "https://w3id.org/ro/terms/workflow-run#"
_CONTEXT = [
    "https://w3id.org/ro/crate/1.1/context",
    {name: f"{_RUN_TERMS}{name}" for name in ("ContainerImage", "containerImage", "sha256")},
]
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
_PARAMETER_PROFILE = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
_WORKFLOW_PROFILE = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
_NEXTFLOW = "https://w3id.org/workflowhub/workflow-ro-crate#nextflow"
_IMAGES = {".dcm", ".ima"}  # thousands of a kind: they stand as their folder, and each in checksums.json
_FORMATS = {
    ".nf": "text/plain",
    ".mmd": "text/plain",
    ".yaml": "application/yaml",
    ".tsv": "text/tab-separated-values",
    ".parquet": "application/vnd.apache.parquet",
}

Entity = dict[str, Any]


def describe_run(run: Path, record: dict[str, Any], digests: dict[str, str]) -> dict[str, Any]:
    """Return the JSON-LD of the crate in `run`, from the run's record and the SHA-256 of its files."""
    parts = _parts(run, digests)
    parameters = {name: value for name, value in record["parameters"].items() if value not in (None, [], "")}
    images = _images(record)
    graph = [
        _descriptor(),
        _root(record, parts),
        *({"@id": url, "@type": "CreativeWork", "name": name, "version": v} for url, (name, v) in _PROFILES.items()),
        _terms(),
        *_workflow(record, parameters),
        *(entity for name, value in parameters.items() for entity in _parameter(name, value)),
        _action(record, parameters, parts, images),
        *images,
        *(part for part in parts if part["@id"] != MAIN_WORKFLOW),
    ]
    return {"@context": _CONTEXT, "@graph": graph}


def _ids(entities: Iterable[Entity]) -> list[dict[str, str]]:
    return [{"@id": entity["@id"]} for entity in entities]


def _descriptor() -> Entity:
    return {
        "@id": CRATE,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": [
            {"@id": "https://w3id.org/ro/crate/1.1"},
            {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
        ],
    }


def _root(record: dict[str, Any], parts: list[Entity]) -> Entity:
    kind = (
        "denoised CT" if record["parameters"].get("workflow") == "denoise" else "a trained CT denoiser and its results"
    )
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Run of {record['pipeline']['name']} {record['pipeline']['version']}",
        "description": f"Output folder of a pipeline run for low-dose CT: {kind}. checksums.json lists every file.",
        "datePublished": _to_the_second(record["finished"]),
        "license": {"@id": "#terms"},
        "conformsTo": [{"@id": url} for url in _PROFILES],
        "mainEntity": {"@id": MAIN_WORKFLOW},
        "mentions": {"@id": "#run"},
        "hasPart": _ids(parts),
    }


def _terms() -> Entity:
    return {
        "@id": "#terms",
        "@type": "CreativeWork",
        "name": "Terms of the input data",
        "description": "Images and models made from a data set are under its terms; the pipeline itself is under "
        "Apache-2.0. Research only; not a medical device.",
    }


def _workflow(record: dict[str, Any], parameters: dict[str, Any]) -> list[Entity]:
    pipeline = record["pipeline"]
    workflow = {
        "@id": MAIN_WORKFLOW,
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": pipeline["name"],
        "version": pipeline.get("revision") or pipeline["version"],
        "conformsTo": {"@id": _WORKFLOW_PROFILE},
        "encodingFormat": "text/plain",
        "programmingLanguage": {"@id": _NEXTFLOW},
        "license": "https://spdx.org/licenses/Apache-2.0",
        "input": [{"@id": f"#parameter-{name}"} for name in parameters],
    }
    language = {
        "@id": _NEXTFLOW,
        "@type": "ComputerLanguage",
        "name": "Nextflow",
        "identifier": {"@id": "https://www.nextflow.io/"},
        "url": {"@id": "https://www.nextflow.io/"},
        "version": record["versions"]["nextflow"],
    }
    return [workflow, language]


def _parameter(name: str, value: Any) -> list[Entity]:
    """Return a parameter of the workflow and the value that it had in this run."""
    return [
        {
            "@id": f"#parameter-{name}",
            "@type": "FormalParameter",
            "name": name,
            "additionalType": _kind(value),
            "conformsTo": {"@id": _PARAMETER_PROFILE},
            "workExample": {"@id": f"#value-{name}"},
        },
        {
            "@id": f"#value-{name}",
            "@type": "PropertyValue",
            "name": name,
            "value": value,
            "exampleOfWork": {"@id": f"#parameter-{name}"},
        },
    ]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "Boolean"
    return "Integer" if isinstance(value, int) else "Float" if isinstance(value, float) else "Text"


def _action(record: dict[str, Any], parameters: dict[str, Any], parts: list[Entity], images: list[Entity]) -> Entity:
    succeeded = bool(record["success"])
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Run of {record['pipeline']['name']}, session {record['session']}",
        "description": record["command_line"],
        "instrument": {"@id": MAIN_WORKFLOW},
        "object": [{"@id": f"#value-{name}"} for name in parameters],
        "result": _ids(part for part in parts if not part["@id"].startswith("pipeline_info/")),
        "startTime": _to_the_second(record["started"]),
        "endTime": _to_the_second(record["finished"]),
        "actionStatus": f"http://schema.org/{'Completed' if succeeded else 'Failed'}ActionStatus",
    }
    if not succeeded and record.get("error"):
        action["error"] = record["error"]
    if images:
        action["containerImage"] = _ids(images)
    return action


def _images(record: dict[str, Any]) -> list[Entity]:
    """Return the container images that tasks ran in; their digest is what tells one build from another."""
    found = []
    for number, (name, digest) in enumerate((record.get("container_images") or {}).items(), start=1):
        image = {"@id": f"#image-{number}", "@type": "ContainerImage", "name": name}
        if digest and digest.startswith("sha256:"):
            image["sha256"] = digest.removeprefix("sha256:")
        found.append(image)
    return found


def _parts(run: Path, digests: dict[str, str]) -> list[Entity]:
    """Return each file of the run, and in place of DICOM images the folders that they lie in."""
    images = [name for name in digests if PurePosixPath(name).suffix.lower() in _IMAGES]
    others = [name for name in digests if name not in set(images) and name != CRATE]
    folders: dict[str, int] = {}
    for name in images:
        if "/" not in name:
            continue
        folder = f"{PurePosixPath(name).parent.as_posix()}/"
        folders[folder] = folders.get(folder, 0) + 1
    series = [
        {
            "@id": _url(name),
            "@type": "Dataset",
            "name": name,
            "description": f"{count} DICOM images",
            "encodingFormat": "application/dicom",
        }
        for name, count in sorted(folders.items())
    ]
    files = [
        {
            "@id": _url(name),
            "@type": "File",
            "name": name,
            "contentSize": str((run / name).stat().st_size),
            "encodingFormat": _format(name),
            "sha256": digests[name],
        }
        for name in others
    ]
    return [*files, *series]


def _to_the_second(time: str) -> str:
    """Return a time of Java, which has nanoseconds and "Z", in the form of ISO 8601 that the profile asks for."""
    return re.sub(r"\.\d+", "", time).replace("Z", "+00:00")


def _url(name: str) -> str:
    return quote(name)


def _format(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return _FORMATS.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"

"""Containerfiles and the audit of packages, as far as they can be looked at without building or asking anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_clone import REPOSITORY


def test_both_containerfiles_are_one_text_but_for_their_values() -> None:
    cuda, cpu = (
        (REPOSITORY / "containers" / name).read_text().splitlines() for name in ("Containerfile", "Containerfile.cpu")
    )
    differing = [(ours, theirs) for ours, theirs in zip(cuda, cpu, strict=True) if ours != theirs]
    assert [ours.partition("=")[0] for ours, _ in differing] == ["ARG BASE_IMAGE", "ARG SYSTEM_PACKAGES", "ARG WITHOUT"]
    assert [ours.partition("=")[0] for ours, _ in differing] == [theirs.partition("=")[0] for _, theirs in differing]


def test_bytecode_in_an_image_is_made_by_content_for_all_that_is_installed_for_users() -> None:
    text = (REPOSITORY / "containers" / "Containerfile").read_text().replace("\\\n", " ")
    steps = [line for line in text.splitlines() if "/opt/ldctpipe/bin/pip install" in line]
    assert len(steps) == 2
    for step in steps:
        assert "--no-compile" in step, "dates of files differ between layers and builds"
        assert "-m compileall" in step and "--invalidation-mode unchecked-hash" in step


SOUND = {"name": "a", "version": "1", "vulns": []}
FAULTY = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI: c (4)"}


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ([SOUND], 0, "1 packages audited, 0 known vulnerabilities."),
        ([SOUND, FAULTY], 1, "b 2: PYSEC-1, fixed in 3"),
        ([SOUND, SKIPPED], 69, "1 of 2 packages could be audited: Dependency not found on PyPI: c (4)"),
        (None, 69, "0 of all packages could be audited: ConnectionError: no network"),
    ],
)
def test_audit_never_says_that_all_is_well_with_packages_that_it_could_not_ask_about(
    tmp_path: Path, answers: list[dict[str, Any]] | None, code: int, said: str
) -> None:
    shutil.copytree(REPOSITORY / "requirements", tmp_path / "requirements")
    programs = tmp_path / ".tools" / "supply-chain" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(REPOSITORY / "requirements" / "supply-chain.txt", programs.parent / "pins")
    (programs / "python").symlink_to(sys.executable)
    answer = "echo 'ConnectionError: no network' >&2; exit 1"
    if answers is not None:
        (tmp_path / "answers").write_text(json.dumps({"dependencies": answers}))
        answer = f'while [ "$1" != -o ]; do shift; done; cp "{tmp_path}/answers" "$2"'
    (programs / "pip-audit").write_text(f"#!/bin/sh\n{answer}\n")
    (programs / "pip-audit").chmod(0o755)
    (tmp_path / "requirements" / "jars.txt").write_text("# none\n")
    done = subprocess.run([tmp_path / "requirements" / "audit.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout

"""The fixture of a small clone in which set-up runs without a network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_clone import NEEDED, PYTHON, REPOSITORY, Clone


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A fresh clone on a machine with a Python (a stand-in), a recent Nextflow (likewise) and no Java."""
    root, programs = tmp_path / "clone", tmp_path / "programs"
    for folder in ("bin", "requirements"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, root)
    programs.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        if found:
            (programs / name).symlink_to(found)
    made = Clone(root, programs)
    made.add_program("python3", PYTHON)
    made.add_program("nextflow", '#!/usr/bin/env bash\necho "nextflow version 25.10.1.5000"; echo "got: $*"\n')
    return made

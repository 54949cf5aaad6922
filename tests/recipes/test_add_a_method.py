"""`docs/add-a-method.md`, followed to the letter in a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BLOCK = re.compile(r"^## \d\. (?P<heading>.*?)$.*?^```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    """The first code block of each numbered section, by the section's heading."""
    page = (REPOSITORY / "docs/add-a-method.md").read_text()
    return {found["heading"]: found["text"] for found in BLOCK.finditer(page)}


@pytest.fixture(scope="module")
def clone(blocks, tmp_path_factory) -> Path:
    """A copy of package and test with what the page says."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(REPOSITORY / "ldctpipe", folder / "ldctpipe", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests/recipes").mkdir(parents=True)
    for heading, text in blocks.items():
        if named := re.search(r"`(ldctpipe/\S+)`", heading):
            assert not (folder / named[1]).exists(), "the example is no part of the package"
            (folder / named[1]).write_text(text)
    table = (REPOSITORY / "tests/recipes/test_methods.py").read_text()
    (row,) = (text for heading, text in blocks.items() if "ROWS" in heading)
    (folder / "tests/recipes/test_methods.py").write_text(table.replace("ROWS = {\n", f"ROWS = {{\n{row}", 1))
    return folder


def in_clone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_its_commands_train_and_list_the_method(blocks, clone, tiny_store):
    (commands,) = (text for heading, text in blocks.items() if heading == "Use it")
    shutil.copytree(tiny_store, clone / "store")

    said = []
    for command in commands.splitlines():
        program = "from ldctpipe.cli.app import main; main()"
        done = in_clone(
            clone, "-c", program, *command.split()[1:], *(["--device", "cpu"] if "train" in command else [])
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)

    card = json.loads((clone / "model/card.json").read_text())
    assert (card["name"], card["training"]["iterations"], card["weights"]["parameters"]) == ("three-layers", 4, 2881)
    assert re.search(r"^three-layers +variant +2\.88 k +1 +docs/add-a-method\.md$", said[-1], re.MULTILINE)


def test_its_row_passes(clone):
    done = in_clone(
        clone, "-m", "pytest", "-p", "no:xdist", "-q", "tests/recipes/test_methods.py", "-k", "three-layers"
    )

    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_the_network_is_written_as_the_others_are(clone):
    for tool in (["ruff", "check", "--config"], ["ruff", "format", "--check", "--config"]):
        done = in_clone(clone, "-m", *tool, str(REPOSITORY / "pyproject.toml"), "ldctpipe/models/three_layers.py")
        assert done.returncode == 0, done.stdout

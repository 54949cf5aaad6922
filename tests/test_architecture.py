"""The rooms of the package: imports point one way, start-up stays light, file names say something."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ldctpipe

PACKAGE = Path(ldctpipe.__file__).parent
# A room may import from every tier under its own, and inside a tier only what WITHIN_TIER names.
TIERS = (
    {"cli"},
    {"training", "inference", "reporting", "record", "doctor"},
    {"recipes"},
    {"metrics", "losses", "models", "data", "simulation"},
    {"dicom", "volumes"},
    {"errors", "files", "foreign", "progress", "devices", "cuda_driver", "provenance", "merging", "__init__"},
)
WITHIN_TIER = {
    ("inference", "reporting"),
    ("training", "reporting"),
    ("metrics", "data"),
    ("data", "simulation"),
    ("dicom", "volumes"),
    ("files", "errors"),
    ("files", "foreign"),
    ("foreign", "errors"),
    ("progress", "errors"),
    ("devices", "errors"),
    ("provenance", "errors"),
    ("files", "progress"),
    ("files", "merging"),
    ("merging", "errors"),
    ("merging", "foreign"),
    ("merging", "progress"),
}
NO_TORCH = {"cli", "doctor", "record", "dicom", "volumes", "errors", "files", "merging", "progress"}
ALONE = {"losses", "models"}  # tensors only: no files, no configuration, no HU
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def tier_of(room: str) -> int:
    return next(index for index, rooms in enumerate(TIERS) if room in rooms)


def imported_modules(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_rooms(path: Path) -> set[str]:
    parts = (name.split(".") for name in imported_modules(path))
    rooms = {each[1] for each in parts if each[0] == "ldctpipe" and len(each) > 1}
    return {room if any(room in tier for tier in TIERS) else "__init__" for room in rooms}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    for other in imported_rooms(path) - {room}:
        downwards = tier_of(other) > tier_of(room)
        assert downwards or (room, other) in WITHIN_TIER, f"{room} may not import {other}"
        assert room not in ALONE or tier_of(other) == len(TIERS) - 1, f"{room} knows tensors only, not {other}"


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) in NO_TORCH], ids=lambda path: path.stem)
def test_no_torch_where_start_up_has_to_be_quick(path: Path) -> None:
    heavy = {"torch", "timm", "lightning_fabric", "torchmetrics"}
    assert not heavy & {name.split(".")[0] for name in imported_modules(path, top_level_only=True)}


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    program = "import sys, ldctpipe.cli.app; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "scipy", "skimage", "pandas", "matplotlib", "pydicom", "numpy"} & set(loaded)


def test_no_file_has_a_name_that_says_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert not [path for path in FILES if path.stem in vague or path.parent.name in vague]


def test_every_module_says_what_it_is() -> None:
    tests = sorted((PACKAGE.parent / "tests").rglob("*.py"))
    assert not [path for path in [*FILES, *tests] if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]


def test_every_command_has_a_help_text() -> None:
    for path in sorted((PACKAGE / "cli").glob("*.py")):
        functions = [
            node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
        ]
        for function in (each for each in functions if each.name == "command"):
            text = ast.get_docstring(function) or ""
            assert len(text) > 20, f"{path.name}: its docstring is its --help"


def test_test_files_have_unique_names() -> None:
    names = [path.name for path in (PACKAGE.parent / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))

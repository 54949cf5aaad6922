"""The wheel: built, installed alone into a clean environment, and complete there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment that sees this one's dependencies but has the package from the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: what an earlier build left beside the package would get into the wheel
    shutil.copytree(REPOSITORY / "ldctpipe", source / "ldctpipe", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    packages = next((folder / "venv").glob("lib/python*/site-packages"))
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "--python", str(folder / "venv" / "bin" / "python"), "install", "--no-deps"]
    subprocess.run([*install, "--no-index", "--quiet", str(wheel)], check=True)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv"


def test_installed_package_imports_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    program = "import importlib.metadata, ldctpipe; print(ldctpipe.__file__, importlib.metadata.version('ldctpipe'))"
    done = subprocess.run(
        [environment / "bin" / "python", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    place, version = done.stdout.split()
    assert Path(place).is_relative_to(environment)
    assert version


def test_wheel_holds_its_data_and_every_module(environment: Path, tmp_path: Path) -> None:
    (installed,) = environment.glob("lib/python*/site-packages/ldctpipe")
    source = REPOSITORY / "ldctpipe"
    wanted = {
        path.relative_to(source)
        for path in source.rglob("*")
        if path.suffix in {".py", ".yaml", ".html", ".css", ".js", ".json"}
    }
    assert wanted <= {path.relative_to(installed) for path in installed.rglob("*")}


def test_installed_program_works_outside_the_clone(environment: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [environment / "bin" / "ldctpipe", "recipes"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "wgan-gp-effnetv2-mini" in done.stdout

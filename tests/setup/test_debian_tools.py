"""The tests' Debian tools without root: fetched once, found by launchers, and one sentence where that can't be done."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from small_clone import Clone

SCRIPT = "requirements/debian.sh"
# Answers as apt-get does: dciodvfy's package needs one more, which the machine lacks.
APT_GET = """#!/usr/bin/env bash
echo "apt-get $*" >> "$CALLS"
[[ ! -f $FAIL ]] || { echo 'E: no network' >&2; exit 100; }
case $* in
*simulate*) echo 'Inst libsomething1 (1.0 Debian:12 [amd64])'; echo 'Inst dicom3tools (1.0 Debian:12 [amd64])' ;;
*download*) cp "$(dirname "$0")"/*.deb . ;;
esac
"""


@pytest.fixture
def machine(clone: Clone, tmp_path: Path) -> Clone:
    """A machine without DICOM tools, whose apt-get hands out one package with a program and a library beside it."""
    for name in ("basename", "dpkg-deb", "find", "paste", "tar"):
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not here")
        (clone.programs / name).symlink_to(found)
    clone.add_program("apt-get", APT_GET)
    package = tmp_path / "package"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "DEBIAN" / "control").write_text(
        "Package: dicom3tools\nVersion: 1.0\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
    )
    for path, text in (
        ("usr/bin/dciodvfy", '#!/bin/sh\necho "$LD_LIBRARY_PATH|$*"\n'),
        ("usr/lib/here/libx.so.1", ""),
        ("usr/bin/cat", "#!/bin/sh\n"),
    ):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
        (package / path).chmod(0o755)
    build = ["dpkg-deb", "--root-owner-group", "--build", str(package), str(clone.programs / "dicom3tools.deb")]
    subprocess.run(build, check=True, capture_output=True)
    return clone


def test_packages_are_unpacked_once_and_their_programs_find_their_libraries(machine: Clone) -> None:
    done = machine.run(SCRIPT)

    launcher = machine.root / ".tools" / "bin" / "dciodvfy"
    said = subprocess.run([launcher, "a b", "c"], capture_output=True, text=True, check=True).stdout
    assert done.returncode == 0, done.stderr
    assert said.strip().split("|") == [f"{machine.root}/.tools/debian/usr/lib/here", "a b c"]
    assert not (launcher.parent / "cat").exists(), "the machine has one"
    assert not list((machine.root / ".tools").glob("debian.*[!g]"))
    downloads = [call for call in machine.calls() if "download" in call]
    assert len(downloads) == 1 and "dicom3tools" in downloads[0] and "libsomething1" in downloads[0]

    again = machine.run(SCRIPT)
    assert (again.returncode, again.stderr, machine.calls()) == (0, "", [])


def test_what_can_not_be_fetched_is_one_sentence_and_no_failure(machine: Clone) -> None:
    (machine.root / "fail").touch()
    done = machine.run(SCRIPT)
    assert done.returncode == 0
    assert "(E: no network); the tests that need them (" in done.stderr.splitlines()[-1]
    assert not (machine.root / ".tools" / "bin").exists()
    assert not (machine.root / ".tools" / "debian").exists()

    (machine.root / "fail").unlink()
    assert machine.run(SCRIPT).returncode == 0
    assert (machine.root / ".tools" / "bin" / "dciodvfy").exists()


def test_another_system_than_debian(machine: Clone) -> None:
    (machine.programs / "apt-get").unlink()
    done = machine.run(SCRIPT)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert "no apt-get to fetch them with; the tests that need them (" in done.stderr

"""Set-up: once, again, after an interruption, in another folder, and what is said where something is missing."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from small_clone import REPOSITORY, Clone


def install(clone: Clone, wanted: str = "runtime") -> str:
    done = clone.run("requirements/install.sh", wanted)
    assert done.returncode == 0, done.stderr
    return done.stderr


def refusal(clone: Clone) -> str:
    done = clone.run("requirements/install.sh", "runtime")
    assert done.returncode != 0
    sentences = [line for line in done.stderr.splitlines() if "installing the" not in line and "trying pip" not in line]
    assert len(sentences) == 1, done.stderr
    return sentences[0]


def test_packages_come_with_checked_hashes_and_the_package_itself_last(clone: Clone) -> None:
    install(clone)
    calls = clone.calls()
    assert all("--require-hashes" in call for call in calls[:-1])
    assert any("requirements/runtime.txt" in call for call in calls)
    assert not any("requirements/dev.txt" in call for call in calls)
    assert "--no-deps --no-build-isolation -e ." in calls[-1]


def test_second_installation_does_nothing_and_the_other_kind_adds_only_its_own(clone: Clone) -> None:
    install(clone)
    clone.calls()
    install(clone)
    assert clone.calls() == []
    install(clone, "dev")
    assert [call for call in clone.calls() if "runtime.txt" in call] == []
    install(clone)
    assert clone.calls() == []


def test_bytecode_of_packages_is_made_once_and_that_of_the_package_kept_up_to_date(clone: Clone) -> None:
    packages, package = ".venv/lib/python3*/site-packages", "ldctpipe"
    install(clone)
    assert clone.compiled() == [packages, package]
    install(clone)
    assert clone.compiled() == [package], "a pulled change is compiled, though nothing is installed"
    install(clone, "dev")
    assert clone.compiled() == [packages, package]
    (clone.root / ".venv" / ".bytecode").unlink()
    install(clone)
    assert clone.compiled() == [packages, package], "an installation that was made without bytecode gets it"


@pytest.mark.parametrize("library", ["torch", "pydicom", "ldctpipe"])
def test_what_this_installation_starts_from_is_compiled(library: str) -> None:
    spec = find_spec(library)
    assert spec and spec.origin and spec.cached
    if Path(sys.prefix) != REPOSITORY / ".venv":
        pytest.skip("these packages were not installed by make install")
    assert Path(spec.cached).is_file()


def test_changed_requirements_are_installed_again(clone: Clone) -> None:
    install(clone)
    clone.calls()
    with (clone.root / "requirements" / "runtime.txt").open("a") as stream:
        stream.write("# changed\n")
    install(clone)
    assert [call for call in clone.calls() if "runtime.txt" in call]


def test_interrupted_installation_is_made_anew(clone: Clone) -> None:
    install(clone)
    clone.calls()
    (clone.root / ".venv" / ".installing").touch()
    (clone.root / ".venv" / "half").touch()
    assert "incomplete" in install(clone)
    assert not (clone.root / ".venv" / "half").exists()
    assert not (clone.root / ".venv" / ".installing").exists()
    assert [call for call in clone.calls() if "runtime.txt" in call]


def test_failed_installation_says_so_and_is_mended_by_the_next(clone: Clone) -> None:
    (clone.root / "fail").touch()
    assert "could not be installed; see the lines above." in refusal(clone)
    (clone.root / "fail").unlink()
    install(clone)
    assert clone.run("bin/ldctpipe", "doctor").returncode == 0


def test_moved_clone_gets_an_environment_of_its_own(clone: Clone) -> None:
    install(clone)
    moved = Clone(clone.root.with_name("moved"), clone.programs)
    shutil.move(clone.root, moved.root)
    moved.calls()
    assert moved.run("bin/ldctpipe", "doctor").returncode == 0
    calls = moved.calls()
    assert [call for call in calls if "runtime.txt" in call]
    assert calls[-1] == "ldctpipe doctor"


def test_missing_venv_module(clone: Clone) -> None:
    clone.add_program("python3", '#!/usr/bin/env bash\n[[ "$*" != *ensurepip* ]]\n')
    assert refusal(clone) == "ldctpipe: python3 has no venv module; install it (Debian: apt-get install python3-venv)."


def test_missing_python(clone: Clone) -> None:
    (clone.programs / "python3").unlink()
    assert "python3 is not here; install Python 3.10 or newer" in refusal(clone)


def test_old_python(clone: Clone) -> None:
    clone.add_program(
        "python3", '#!/usr/bin/env bash\n[[ "$*" != *--version* ]] || echo Python 3.8.1\n[[ "$*" != *sys.exit* ]]\n'
    )
    assert "Python 3.8.1 is too old; install Python 3.10 or newer" in refusal(clone)


def test_full_disk(clone: Clone) -> None:
    clone.add_program("df", "#!/usr/bin/env bash\necho 'Available'; echo '/dev/x 100 90 3145728 90% /'\n")
    said = refusal(clone)
    assert "has 3 GB free and the installation needs about 12 GB; free some space" in said
    assert not (clone.root / ".venv").exists()


def test_neither_nextflow_nor_maven(clone: Clone) -> None:
    (clone.programs / "nextflow").unlink()
    assert "neither Nextflow nor Maven is here; install Nextflow 24.10 or newer" in refusal(clone)
    assert not (clone.root / ".venv").exists(), "said before anything long"


def test_jars_that_are_not_the_pinned_ones_are_refused(clone: Clone) -> None:
    (clone.programs / "nextflow").unlink()
    clone.add_program(
        "mvn",
        '#!/usr/bin/env bash\nfolder=${@: -1}; folder=${folder#*=}\nmkdir -p "$folder"; echo other > "$folder/x.jar"\n',
    )
    done = clone.run("requirements/install.sh", "runtime")
    assert done.returncode != 0
    assert "is not what" in done.stderr.splitlines()[-1] or "pins; see the lines above." in done.stderr
    assert not (clone.root / ".tools" / "nextflow").exists()


def test_java_comes_from_the_package_index_only_where_it_is_missing(clone: Clone) -> None:
    install(clone)
    assert [call for call in clone.calls() if "java.txt" in call]


@pytest.mark.parametrize(("version", "fits"), [("17.0.9", True), ("21", True), ("11.0.2", False), ("25", False)])
def test_java_of_the_machine_is_taken_where_nextflow_runs_on_it(clone: Clone, version: str, fits: bool) -> None:
    java = clone.add_program("java", f"#!/usr/bin/env bash\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n")
    found = clone.run("bin/nextflow", "--find-java")
    assert (found.returncode == 0) == fits
    assert found.stdout.strip() == (str(java) if fits else "")


def test_requirements_name_no_index() -> None:
    for path in sorted((Path(__file__).resolve().parents[2] / "requirements").glob("*.txt")):
        text = path.read_text()
        assert "://" not in text and "index-url" not in text, path.name
        if path.name != "jars.txt":  # Maven's, with checksums in files of their own
            assert text.count("--hash=sha256:") >= text.count("==") > 0, path.name

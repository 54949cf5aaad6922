"""bin/ldctpipe and bin/nextflow find what is there, in a fresh clone, in an environment and in a container."""

from __future__ import annotations

import subprocess

from small_clone import Clone

ECHO = '#!/usr/bin/env bash\necho "{name}: $*"\n'


def test_fresh_clone_installs_itself_and_passes_arguments_and_code(clone: Clone) -> None:
    done = clone.run("bin/ldctpipe", "denoise", "a b")
    assert done.returncode == 0, done.stderr
    assert "not installed yet" in done.stderr
    assert done.stdout == ""
    assert clone.calls()[-1] == "ldctpipe denoise a b"
    (clone.root / "fail").touch()
    assert clone.run("bin/ldctpipe", "denoise").returncode == 1


def test_parallel_first_calls_install_once(clone: Clone) -> None:
    command = [str(clone.root / "bin" / "ldctpipe"), "doctor"]
    running = [subprocess.Popen(command, env=clone.environment, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    calls = clone.calls()
    assert len([call for call in calls if "runtime.txt" in call]) == 1
    assert calls.count("ldctpipe doctor") == 3


def test_container_uses_its_own_installation(clone: Clone) -> None:
    folder = clone.root / "opt" / "bin"
    folder.mkdir(parents=True)
    (folder / "ldctpipe").write_text(ECHO.format(name="container"))
    (folder / "ldctpipe").chmod(0o755)
    done = clone.run("env", f"LDCTPIPE_HOME={folder.parent}", "bin/ldctpipe", "doctor")
    assert done.stdout == "container: doctor\n"


def test_activated_environment_serves_a_clone_that_is_not_set_up(clone: Clone) -> None:
    clone.add_program("ldctpipe", ECHO.format(name="environment"))
    assert clone.run("bin/ldctpipe", "doctor").stdout == "environment: doctor\n"


def test_nextflow_on_path_is_used_and_gets_all_arguments(clone: Clone) -> None:
    assert "got: run x.nf --input a b" in clone.run("bin/nextflow", "run", "x.nf", "--input", "a b").stdout


def test_nextflow_does_not_call_itself_when_its_folder_is_on_path(clone: Clone) -> None:
    done = clone.run("env", f"PATH={clone.root}/bin:{clone.programs}", "bin/nextflow", "--find")
    assert done.stdout.strip() == str(clone.programs / "nextflow")


def test_old_nextflow_on_path_is_passed_over(clone: Clone) -> None:
    clone.add_program("nextflow", "#!/usr/bin/env bash\necho 'nextflow version 23.10.1.5891'\n")
    assert clone.run("bin/nextflow", "--find").returncode != 0

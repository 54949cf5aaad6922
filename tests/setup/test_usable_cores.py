"""How many cores a process takes for itself: by affinity and by the CPU time of its cgroup, whichever is less."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ldctpipe import devices
from ldctpipe.devices import usable_cores


@pytest.mark.parametrize(
    ("own", "around", "cores"),
    [("max 100000", "max 100000", 8), ("250000 100000", "max 100000", 3), ("max 100000", "100000 100000", 1),
     ("10000 100000", "", 1), ("9900000 100000", "no number", 8)],
)  # fmt: skip
def test_the_quota_of_a_cgroup_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, around: str, cores: int
) -> None:
    (tmp_path / "groups" / "job" / "step").mkdir(parents=True)
    (tmp_path / "groups" / "job" / "step" / "cpu.max").write_text(own + "\n")
    (tmp_path / "groups" / "job" / "cpu.max").write_text(around + "\n")
    (tmp_path / "own").write_text("1:cpuset:/old\n0::/job/step\n")
    monkeypatch.setattr(devices, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(devices, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    assert usable_cores() == cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system knows no affinity")
def test_one_core_by_affinity_is_one_core() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from ldctpipe.devices import usable_cores; print(usable_cores())"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "1"


def test_reading_headers_does_not_import_torch() -> None:
    program = "import sys, ldctpipe.dicom.reading, ldctpipe.dicom.discovery; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("chosen", "policy", "spins"),
    [({}, "PASSIVE", "0"), ({"GOMP_SPINCOUNT": "70"}, None, "70"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE", None)],
)
def test_threads_of_torch_sleep_while_they_wait_unless_the_user_says_otherwise(
    chosen: dict[str, str], policy: str | None, spins: str | None
) -> None:
    unset = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    program = "import sys; sys.argv[1:] = ['recipes', 'red-cnn']; from ldctpipe.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**unset, **chosen, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    if "libgomp" not in done.stderr and "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("this torch has another OpenMP than GNU's")
    assert policy is None or f"OMP_WAIT_POLICY = '{policy}'" in done.stderr
    assert spins is None or f"GOMP_SPINCOUNT = '{spins}'" in done.stderr

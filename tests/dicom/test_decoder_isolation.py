"""What a decoder may do in its own process, and what stays of it: that file is refused, everything else goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from ldctpipe.dicom.decompression import Decoders
from ldctpipe.dicom.rejection import Rejected

LIMIT_S, LIMIT_MIB = 1.0, 128
COUNTED = np.arange(12, dtype=np.uint16).reshape(3, 4)
FAULTS = {
    "segfault": "crash the decoder",
    "abort": "crash the decoder",
    "exit": "crash the decoder",
    "panic": "crash the decoder",
    "hang": "longer than 1 s",
    "memory": "more than 128 MiB",
    "error": "can't be decoded",
    "flat": "can't be decoded",
}


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    each = Decoders("faulty_decoders:decode", LIMIT_S, LIMIT_MIB)
    yield each
    each.close()


@pytest.fixture
def orders(tmp_path: Path) -> dict[str, Path]:
    """A file for each thing that the decoder of `faulty_decoders` can be made to do."""
    paths = {name: tmp_path / name for name in (*FAULTS, "words", "print", "spoil", "modules")}
    for name, path in paths.items():
        path.write_text(name)
    return paths


def reason_of(decoders: Decoders, path: Path) -> str:
    with pytest.raises(Rejected) as refused:
        decoders.words(path)
    assert refused.value.rejection.is_fault
    return refused.value.rejection.reason


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_its_file_only(fault: str, decoders: Decoders, orders: dict[str, Path]) -> None:
    np.testing.assert_array_equal(decoders.words(orders["words"]), COUNTED)
    assert FAULTS[fault] in reason_of(decoders, orders[fault])
    np.testing.assert_array_equal(decoders.words(orders["words"]), COUNTED)
    assert FAULTS[fault] in reason_of(decoders, orders[fault])


def test_the_time_limit_holds_and_is_not_waited_for_twice(decoders: Decoders, orders: dict[str, Path]) -> None:
    decoders.words(orders["words"])
    start = time.monotonic()
    reason_of(decoders, orders["hang"])
    assert LIMIT_S <= time.monotonic() - start < 1.8 * LIMIT_S


def test_a_file_is_not_blamed_for_what_another_did_to_the_memory(decoders: Decoders, orders: dict[str, Path]) -> None:
    decoders.words(orders["spoil"])
    np.testing.assert_array_equal(decoders.words(orders["words"]), COUNTED)


def test_what_a_decoder_prints_goes_nowhere(
    decoders: Decoders, orders: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    np.testing.assert_array_equal(decoders.words(orders["print"]), COUNTED)
    reason_of(decoders, orders["error"])
    assert capfd.readouterr() == ("", "")


def test_threads_have_a_process_each_and_one_crash_leaves_the_others_alone(
    decoders: Decoders, orders: dict[str, Path]
) -> None:
    work = [orders[name] for name in ("words", "segfault", "print", "words") * 8]

    def words_or_reason(path: Path) -> np.ndarray | str:
        try:
            return decoders.words(path)
        except Rejected as rejected:
            return rejected.rejection.reason

    before = len(children())
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(words_or_reason, work))
    assert len(children()) - before <= 4
    for path, result in zip(work, results, strict=True):
        if path.name == "segfault":
            assert isinstance(result, str) and "crash" in result
        else:
            np.testing.assert_array_equal(result, COUNTED)


def test_nothing_is_left_of_processes_that_broke_or_were_closed(decoders: Decoders, orders: dict[str, Path]) -> None:
    before = set(children())
    for fault in ("segfault", "hang", "panic"):
        reason_of(decoders, orders[fault])
    assert set(children()) == before, "no zombie either: those would be listed"
    decoders.words(orders["words"])
    assert len(set(children()) - before) == 1
    decoders.close()
    assert set(children()) == before


def test_one_process_decodes_file_after_file(decoders: Decoders, orders: dict[str, Path]) -> None:
    decoders.words(orders["words"])
    first = set(children())
    for name in ("words", "error", "print", "flat", *["words"] * 200):
        try:
            decoders.words(orders[name])
        except Rejected:
            continue
    assert set(children()) == first


def test_a_decoder_process_is_light(decoders: Decoders, orders: dict[str, Path]) -> None:
    torch, scipy, pandas, typer, numpy = decoders.words(orders["modules"])[0]
    assert (torch, scipy, pandas, typer, numpy) == (0, 0, 0, 0, 1)


def test_a_file_that_is_gone_is_refused(decoders: Decoders, tmp_path: Path) -> None:
    assert "can't be decoded" in reason_of(decoders, tmp_path / "missing")


def test_odd_file_names_reach_the_decoder(decoders: Decoders, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n 'x"))
    odd.write_text("words")
    np.testing.assert_array_equal(decoders.words(odd), COUNTED)


def test_a_fork_starts_processes_of_its_own(orders: dict[str, Path]) -> None:
    program = """
import os, sys
from pathlib import Path
from ldctpipe.dicom.decompression import Decoders
decoders, path = Decoders("faulty_decoders:decode", 5, 128), Path(sys.argv[1])
os.register_at_fork(after_in_child=decoders.forget)
assert decoders.words(path).sum() == 66
fork = os.fork()
if not fork:
    code = int(decoders.words(path).sum() != 66)
    decoders.close()
    os._exit(code)
assert os.waitpid(fork, 0)[1] == 0
assert decoders.words(path).sum() == 66
decoders.close()
"""
    run = script(program, orders["words"])
    assert run.wait(30) == 0


def script(program: str, *arguments: Path) -> subprocess.Popen[str]:
    """Run `program` in an interpreter of its own, in its own process group, with the faulty decoders at hand."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


# Decodes one image, tells the process that did it, then goes on as the second argument says.
DECODE_THEN = """
import signal
import sys
from pathlib import Path
import psutil
from ldctpipe.dicom.decompression import Decoders
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
decoders = Decoders("faulty_decoders:decode", float(sys.argv[3]), 128)
decoders.words(Path(sys.argv[1]))
print(psutil.Process().children()[0].pid, flush=True)
decoders.words(Path(sys.argv[2]))
sys.stdin.read()
"""


def is_gone_within(pid: int, limit_s: float) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_an_interpreter_that_ends_takes_its_decoders_along(compressed_ct: Path) -> None:
    program = """
import sys
from pathlib import Path
import psutil
from ldctpipe.dicom.decompression import decompressed
print(decompressed(Path(sys.argv[1])).shape, psutil.Process().children()[0].pid)
"""
    run = script(program, compressed_ct)
    output, errors = run.communicate(timeout=30)
    assert (run.returncode, errors) == (0, "")
    assert not psutil.pid_exists(int(output.split()[-1]))


@pytest.mark.parametrize(("last", "limit_s", "gone_within_s"), [("words", 60, 2), ("hang", 60, 2)])
def test_decoders_end_when_their_parent_is_killed(
    last: str, limit_s: float, gone_within_s: float, orders: dict[str, Path]
) -> None:
    run = script(DECODE_THEN, orders["words"], orders[last], Path(str(limit_s)))
    assert run.stdout
    decoder = int(run.stdout.readline())
    time.sleep(0.3)
    run.kill()
    run.communicate()
    assert is_gone_within(decoder, gone_within_s)


def test_an_interrupt_is_answered_by_the_parent_alone(orders: dict[str, Path]) -> None:
    run = script(DECODE_THEN, orders["words"], orders["hang"], Path("60"))
    assert run.stdout
    decoder = int(run.stdout.readline())
    time.sleep(0.3)
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=10)
    assert errors.rstrip().endswith("KeyboardInterrupt") and errors.count("Traceback") == 1
    assert is_gone_within(decoder, 1)


def test_decoders_import_nothing_from_the_folder_that_they_are_started_in(
    compressed_ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    decoders = Decoders()
    assert decoders.words(compressed_ct).shape == (64, 72)
    decoders.close()


@pytest.fixture
def compressed_ct(tmp_path: Path) -> Path:
    """A small CT image in RLE, which pydicom alone can make."""
    from pydicom.uid import RLELossless
    from small_dicom import body, ct_dataset

    image = ct_dataset(body())
    image.compress(RLELossless)
    image.save_as(tmp_path / "rle.dcm", enforce_file_format=True)
    return tmp_path / "rle.dcm"

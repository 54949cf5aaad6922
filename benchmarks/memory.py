"""Peak memory of ingest, prepare and evaluate for a long series, as multiples of its int16 volume.

    .venv/bin/python benchmarks/memory.py [--slices 2000] [--threads 2] [--command ingest] [--folder DIR] [--json FILE]

The series have 512×512 pixels, and the scanner's declared padding around a circle. "base" is the peak of the same
command on a series of 4 slices: the libraries. "ratio" is what the long series takes beyond it, over its int16 volume.
prepare and evaluate are measured on DICOM and on ingested cases; those are mapped, so their pages count as memory of
the process but can be dropped at any time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from ingest import full_header

SIDE, SHORT = 512, 4
PADDING, AIR, TISSUE = -2000, -1000, 40
COMMANDS = ("ingest", "prepare", "prepare, cases", "evaluate", "evaluate, cases")
ROLES = {"full_dose": 12.0, "low_dose": 40.0, "denoised": 15.0}  # noise in HU
_NOISE_IMAGES = 16
_MEASURED = """
import atexit, pathlib
atexit.register(lambda: print(pathlib.Path("/proc/self/status").read_text()))
from ldctpipe.cli.app import main
main()
"""
_CAPTURED: Any = {"capture_output": True, "text": True}
_QUIET: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def make_scan(folder: Path, slices: int, number: int, noise_hu: float) -> None:
    """Write a series of a disc whose size changes from slice to slice, with air and then padding around it."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(number)
    noise = [random.normal(0, noise_hu, (SIDE, SIDE)) for _ in range(_NOISE_IMAGES)]
    rows, columns = np.indices((SIDE, SIDE))
    radius = np.hypot(rows - SIDE / 2, columns - SIDE / 2)
    image = full_header()
    image.PixelRepresentation, image.RescaleIntercept = 1, 0
    image.add_new("PixelPaddingValue", "SS", PADDING)
    image.SeriesInstanceUID = f"{image.SeriesInstanceUID}.{number}"
    for index in range(slices):
        body = np.where(radius < SIDE * (0.3 + 0.1 * np.sin(index / 7)), TISSUE, AIR)
        hu = np.rint(body + noise[index % _NOISE_IMAGES])
        hu[radius > SIDE / 2] = PADDING
        image.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{number}.{index + 1}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.InstanceNumber, image.SliceLocation = index + 1, index
        image.ImagePositionPatient = [-200, -200, index]
        image.PixelData = hu.astype("<i2").tobytes()
        pydicom.dcmwrite(folder / f"{index:05d}.dcm", image, enforce_file_format=True)


def make_inputs(folder: Path, slices: int) -> None:
    """Write the scans of one patient, as DICOM and as cases, and samplesheets of both."""
    for number, (role, noise_hu) in enumerate(ROLES.items(), start=1):
        make_scan(folder / "dicom" / role, slices, number, noise_hu)
        scan, case = folder / "dicom" / role, folder / "cases" / role
        subprocess.run([sys.executable, "-m", "ldctpipe.cli.app", "ingest", scan, case], check=True, **_QUIET)
    for kind in ("dicom", "cases"):
        row = f"P1,{folder}/{kind}/low_dose,{folder}/{kind}/full_dose,train"
        (folder / f"{kind}.csv").write_text(f"patient,low_dose,full_dose,split\n{row}\n")


def arguments(command: str, folder: Path, out: Path) -> list[str]:
    """Return the command line that is measured."""
    name, _, _ = command.partition(",")
    kind = folder / ("cases" if command.endswith("cases") else "dicom")
    if name == "ingest":
        return [name, str(kind / "full_dose"), str(out)]
    if name == "prepare":
        return [name, str(kind.with_suffix(".csv")), str(out)]
    scans = [str(kind / role) for role in ("denoised", "full_dose")]
    return [name, *scans, str(out), "--low-dose", str(kind / "low_dose")]


def peak_mib(command: list[str], threads: int) -> float:
    """Return the most resident memory that a command has in a process of its own.

    The process says it itself: what its parent is told (ru_maxrss) is never less than what the parent has.
    """
    said = subprocess.run(
        [sys.executable, "-c", _MEASURED, *command, "--threads", str(threads)], check=False, **_CAPTURED
    )
    if said.returncode:
        raise SystemExit(f"ldctpipe {' '.join(command)}: {said.stderr}")
    return int(said.stdout.rpartition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--command", choices=COMMANDS, action="append", help="one of these alone; repeatable")
    parser.add_argument("--folder", type=Path, help="where the scans are made: 3 GB per 1,000 slices")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    volume_mib = options.slices * SIDE * SIDE * 2 / 2**20
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="ldctpipe-bench-", dir=options.folder) as temporary:
        folders = {slices: Path(temporary, str(slices)) for slices in (SHORT, options.slices)}
        for slices, folder in folders.items():
            make_inputs(folder, slices)
        print(f"{options.slices} slices, {volume_mib:.0f} MiB of int16 volume, {options.threads} threads")
        print(f"{'command':18} {'base, MiB':>10} {'peak, MiB':>10} {'ratio':>7}")
        for command in options.command or COMMANDS:
            base, peak = (
                peak_mib(arguments(command, folder, folder / f"out-{command}"), options.threads)
                for folder in folders.values()
            )
            figures[command] = {"base_mib": base, "peak_mib": peak, "ratio": (peak - base) / volume_mib}
            print(f"{command:18} {base:10.0f} {peak:10.0f} {figures[command]['ratio']:7.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"slices": options.slices, "commands": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()

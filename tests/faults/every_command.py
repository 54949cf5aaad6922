"""A cohort of one simulated patient, all commands that read it, and all that they leave behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from noisy_body import noisy_body
from small_dicom import ct_dataset

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode


def write_cohort(root: Path, change: Callable[[pydicom.FileDataset, int], None], slices: int = 3) -> Path:
    """Write `root/P1/{low_dose,full_dose}`, each image as `change` leaves it, given its number in the series."""
    for number, (dose, hu) in enumerate(zip(("low_dose", "full_dose"), noisy_body(slices, 128, 1), strict=True)):
        (root / "P1" / dose).mkdir(parents=True)
        for index, image in enumerate(hu):
            uid = f"1.2.826.0.1.3680043.8.498.{number + 90}"
            stored = (image.astype(np.int32) + 1024).clip(0, 4095).astype(np.uint16)
            uids = {"SOPInstanceUID": f"{uid}.{index}", "SeriesInstanceUID": uid}
            dataset = ct_dataset(stored, 3.0 * index, PixelSpacing=[0.7, 0.7], **uids)
            change(dataset, 10 * number + index)
            pydicom.dcmwrite(root / "P1" / dose / f"{index}.dcm", dataset, enforce_file_format=True)
    return root


def run_every_command(cohort: Path, bundle: Path, out: Path) -> None:
    """Run all commands that read scans, from inspecting to the report, in this process; each must end with 0."""
    low, full = cohort / "P1" / "low_dose", cohort / "P1" / "full_dose"
    for arguments in (
        ("inspect", cohort),
        ("inspect", cohort, "--json"),
        ("samplesheet", cohort, out / "sheet.csv"),
        ("ingest", cohort, out / "cases"),
        ("simulate", full, out / "simulated", "--quanta", "1e5"),
        ("prepare", cohort_sheet(cohort, out), out / "store"),
        ("denoise", low, out / "denoised", "--model", bundle, "--device", "cpu"),
        ("explain", bundle, low, out / "explained", "--device", "cpu"),
        ("figure", "augmentation", out / "store", out / "augmentation.svg"),
        ("figure", "methods", low, out / "methods.svg", "--model", bundle, "--reference", full, "--device", "cpu"),
        ("evaluate", out / "denoised", full, out / "run" / "metrics", "--low-dose", low),
        ("report", out / "run", out / "report.html"),
    ):
        assert run([str(argument) for argument in arguments]) == ExitCode.DONE, arguments[0]


def cohort_sheet(cohort: Path, out: Path) -> Path:
    """Write a samplesheet that trains on the only patient, and return it."""
    sheet = out / "train.csv"
    sheet.write_text(f"patient,low_dose,full_dose,split\nP1,{cohort}/P1/low_dose,{cohort}/P1/full_dose,train\n")
    return sheet


@dataclass(frozen=True)
class Left:
    """A file that a command left, by its path below the output folder, with what can be read in it."""

    name: str
    content: bytes


def left_behind(out: Path) -> Iterator[Left]:
    """Yield every file below `out` but derived DICOM, whose purpose is to carry the patient; packed ones unpacked."""
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content = pd.read_parquet(path).to_csv().encode()
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                content = b"".join(name.encode() + arrays[name].tobytes() for name in arrays)
        name = str(path.relative_to(out))
        yield Left(name, b"" if content[128:132] == b"DICM" else content)

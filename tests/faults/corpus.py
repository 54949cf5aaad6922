"""What the fuzzing starts from: small synthetic series in every encoding, and real images where they are there."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from small_dicom import body, ct_dataset

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw"
_NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
_COMPRESSED = [RLELossless, JPEGLSLossless, JPEG2000Lossless]
_REAL_FILES = [
    ("body/A002304/19001231-076.dcm",),
    ("body/A067967/19001231-270.dcm",),
    ("phantom_philips_5mm/S2010_I140", "phantom_philips_5mm/S2010_I180", "phantom_philips_5mm/S2010_I200"),
    ("mixed_philips_localizers/S1000_I10",),
    ("mixed_philips_localizers/S4010_I10",),
]


@dataclass(frozen=True)
class Specimen:
    """Whole, sound files that belong together."""

    name: str
    files: tuple[bytes, ...]


def encoded(dataset: pydicom.FileDataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Return the file of `dataset` (native, little endian) in another transfer syntax."""
    if syntax in _COMPRESSED:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = _swapped(dataset.PixelData)
    target = BytesIO()
    pydicom.dcmwrite(target, dataset, enforce_file_format=True)
    return target.getvalue()


def _swapped(words: bytes) -> bytes:
    swapped = bytearray(words)
    swapped[::2], swapped[1::2] = words[1::2], words[::2]
    return bytes(swapped)


def synthetic_series(syntax: UID, number: int, slices: int = 3, shape: tuple[int, int] = (36, 40)) -> Specimen:
    """Return a series of its own UID in one transfer syntax."""
    uid = f"1.2.826.0.1.3680043.8.498.77.{number}"
    images = (
        ct_dataset(body(index, shape), 3.0 * index, SOPInstanceUID=f"{uid}.{index}", SeriesInstanceUID=uid)
        for index in range(slices)
    )
    return Specimen(syntax.name, tuple(encoded(image, syntax) for image in images))


def corpus() -> list[Specimen]:
    """Return every specimen, synthetic ones first."""
    return [synthetic_series(syntax, number) for number, syntax in enumerate([*_NATIVE, *_COMPRESSED])] + real_corpus()


def real_corpus() -> list[Specimen]:
    """Return images of scanners of three makers and what lay beside them, as far as they are on this machine."""
    there = [names for names in _REAL_FILES if all((REAL / name).is_file() for name in names)]
    return [Specimen(names[0], tuple((REAL / name).read_bytes() for name in names)) for names in there]

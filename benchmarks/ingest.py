"""DICOM folder to int16 HU volume: slices a second beside SimpleITK and the plain pydicom loop, and peak memory.

    .venv/bin/python benchmarks/ingest.py [--slices 400] [--repeats 5] [--folder DIR] [--json FILE]
    .venv/bin/python benchmarks/ingest.py --headers       # headers alone, beside pydicom

Without `--folder` the series is made in a temporary folder: 512×512, 12 bits in 16, headers of some 150 elements with
private ones and nested sequences, as scanners write them. All readers take turns in one run, after one turn that
nobody times, so all read from the page cache; ratios are of medians. Voxels must be the same for all, or the run fails.
Memory is the peak of a process of its own, less what it had once its libraries were loaded.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.headers import KEYWORDS, header_of
from ldctpipe.dicom.reading import read_volume

SIDE = 512
MEMORY_SLICES = 2000
PLAIN = "plain pydicom loop"
READERS = ("ldctpipe, 1 thread", "ldctpipe, 2 threads", "SimpleITK, 1 thread", "SimpleITK, default", PLAIN)


def make_series(folder: Path, slices: int) -> None:
    """Write a series of a noisy disc with headers as long as a scanner's."""
    random = np.random.default_rng(0)
    rows, columns = np.indices((SIDE, SIDE))
    disc = np.where(np.hypot(rows - SIDE / 2, columns - SIDE / 2) < 0.4 * SIDE, 40, -1000)
    image = full_header()
    for number in range(slices):
        hu = np.rint(disc + random.normal(0, 20, disc.shape)).clip(-1024, 3071).astype(np.int16)
        image.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.7.{number + 1}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.InstanceNumber, image.SliceLocation = number + 1, number
        image.ImagePositionPatient = [-200, -200, number]
        image.PixelData = (hu + 1024).astype("<u2").tobytes()
        pydicom.dcmwrite(folder / f"{number:05d}.dcm", image, enforce_file_format=True)


def full_header() -> FileDataset:
    """Return a CT image without pixels whose header has about 150 top-level elements."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    root = "1.2.826.0.1.3680043.8.498"
    image.update(
        {
            "SpecificCharacterSet": "ISO_IR 100", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "HELIX"],
            "SOPClassUID": CTImageStorage, "StudyInstanceUID": f"{root}.5", "SeriesInstanceUID": f"{root}.6",
            "FrameOfReferenceUID": f"{root}.8", "Modality": "CT", "Manufacturer": "BENCHMARK",
            "ManufacturerModelName": "Made up", "InstitutionName": "Nowhere", "StationName": "CT1",
            "PatientID": "BENCHMARK", "PatientName": "Bench^Mark", "PatientBirthDate": "19700101", "PatientSex": "O",
            "PatientAge": "050Y", "StudyDate": "20260101", "SeriesDate": "20260101", "AcquisitionDate": "20260101",
            "ContentDate": "20260101", "StudyTime": "120000", "SeriesTime": "120000", "AcquisitionTime": "120000",
            "ContentTime": "120000", "AccessionNumber": "1", "StudyDescription": "Abdomen", "StudyID": "1",
            "SeriesDescription": "Abdomen 1.0 B30f", "ProtocolName": "Abdomen", "BodyPartExamined": "ABDOMEN",
            "ScanOptions": "HELIX", "SliceThickness": 1, "KVP": 120, "DataCollectionDiameter": 500,
            "DeviceSerialNumber": "1", "SoftwareVersions": "1.0", "ReconstructionDiameter": 400,
            "DistanceSourceToDetector": 1040, "DistanceSourceToPatient": 570, "GantryDetectorTilt": 0,
            "TableHeight": 150, "RotationDirection": "CW", "ExposureTime": 500, "XRayTubeCurrent": 200, "Exposure": 100,
            "FilterType": "BODY", "GeneratorPower": 60, "FocalSpots": [1.2], "ConvolutionKernel": "B30f",
            "PatientPosition": "FFS", "RevolutionTime": 0.5, "SingleCollimationWidth": 0.6,
            "TotalCollimationWidth": 38.4, "TableSpeed": 46.0, "TableFeedPerRotation": 23.0, "SpiralPitchFactor": 0.6,
            "CTDIvol": 7.1, "SeriesNumber": 3, "AcquisitionNumber": 1, "PositionReferenceIndicator": "",
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": SIDE, "Columns": SIDE, "PixelSpacing": [0.78125, 0.78125], "BitsAllocated": 16, "BitsStored": 12,
            "HighBit": 11, "PixelRepresentation": 0, "WindowCenter": [40, 300], "WindowWidth": [400, 1500],
            "RescaleIntercept": -1024, "RescaleSlope": 1, "RescaleType": "HU",
        }
    )  # fmt: skip
    for keyword in ("ReferencedStudySequence", "ProcedureCodeSequence", "RequestAttributesSequence"):
        image[pydicom.datadict.tag_for_keyword(keyword)] = pydicom.DataElement(keyword, "SQ", nested(3))
        image[keyword].is_undefined_length = True
    for group in (0x0019, 0x0021, 0x0029, 0x0053):
        block = image.private_block(group, "BENCHMARK", create=True)
        for number in range(18):
            block.add_new(number, "DS" if number % 2 else "LO", str(number))
    image.private_block(0x0029, "BENCHMARK").add_new(0x40, "OB", bytes(8192))
    return image


def nested(depth: int) -> Sequence:
    """Return a sequence of two items with codes in them, `depth` deep."""
    items = []
    for number in range(2):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = str(number), "99BENCH", "a code"
        if depth:
            item.ReferencedSeriesSequence = nested(depth - 1)
        items.append(item)
    return Sequence(items)


def by_ldctpipe(folder: Path, threads: int) -> np.ndarray:
    """Return the one CT series of a folder as this program reads it."""
    (series,) = discover(folder, threads).series
    return read_volume(series, threads).hu


def by_simpleitk(folder: Path, threads: int) -> np.ndarray:
    """Return it as SimpleITK's series reader does."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.GetArrayFromImage(reader.Execute())


def by_plain_loop(folder: Path) -> np.ndarray:
    """Return it as scripts do, sorted by position, one file after the other."""
    slices = []
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        hu = (image.pixel_array * image.RescaleSlope + image.RescaleIntercept).astype(np.int16)
        slices.append((float(image.ImagePositionPatient[2]), hu))
    return np.stack([hu for _, hu in sorted(slices, key=lambda one: one[0])])


def readers() -> dict[str, Callable[[Path], np.ndarray]]:
    """Return all readers by name."""
    default = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    return dict(
        zip(
            READERS,
            (
                lambda folder: by_ldctpipe(folder, 1),
                lambda folder: by_ldctpipe(folder, 2),
                lambda folder: by_simpleitk(folder, 1),
                lambda folder: by_simpleitk(folder, default),
                by_plain_loop,
            ),
            strict=True,
        )
    )


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def speed(folder: Path, repeats: int) -> dict[str, list[float]]:
    """Return seconds a turn of each reader; raises where their voxels differ."""
    expected = by_plain_loop(folder)
    for name, read in readers().items():
        if not np.array_equal(read(folder), expected):
            raise SystemExit(f"{name} reads other voxels than the plain pydicom loop")
    del expected
    times: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(repeats):
        for name, read in readers().items():
            times[name].append(timed(lambda read=read: read(folder)))
    return times


def headers(folder: Path, repeats: int) -> None:
    """Print milliseconds a header: this program's walk, with and without validation, beside pydicom."""
    from ldctpipe.dicom.scanning import scan

    files = sorted(folder.iterdir())
    ways: dict[str, Callable[[Path], object]] = {
        "scan: the walk": lambda path: scan(path, KEYWORDS),
        "header_of: walk, values, validation": header_of,
        "pydicom, same attributes": lambda path: pydicom.dcmread(path, True, True, specific_tags=list(KEYWORDS)),
        "pydicom, all attributes": lambda path: pydicom.dcmread(path, stop_before_pixels=True),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            times[name].append(timed(lambda way=way: [way(path) for path in files]) / len(files) * 1e3)
    for name, values in times.items():
        print(f"{name:40} {statistics.median(values[1:]):8.3f} ms")


def peak_of_child(folder: Path, reader: str) -> float:
    """Return the peak memory of one reading in a process of its own, in MiB, less what its libraries take."""
    done = subprocess.run(
        [sys.executable, __file__, "--folder", str(folder), "--memory-of", reader],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout)


def print_own_peak(folder: Path, reader: str) -> None:
    """Read once and print by how many MiB the peak of this process grew."""
    before_mib = resident_mib("VmRSS")
    volume = readers()[reader](folder)
    print(resident_mib("VmHWM") - before_mib)
    del volume


def resident_mib(field: str) -> float:
    """Return memory of this process by its name in Linux's /proc/self/status."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    if not found:
        raise SystemExit("memory is measured on Linux only")
    return int(found[1]) / 1024


def report_speed(folder: Path, repeats: int) -> dict[str, list[float]]:
    """Measure and print the table of readers."""
    times = speed(folder, repeats)
    slices = len(list(folder.iterdir()))
    medians = {name: statistics.median(values) for name, values in times.items()}
    versions = f"pydicom {pydicom.__version__}, SimpleITK {sitk.Version.VersionString()}, numpy {np.__version__}"
    print(f"{versions}; {platform.machine()}; {slices} slices, page cache warm, same voxels")
    print(f"{'reader':22} {'slices/s':>9} {'ms/slice':>9} {'min':>7} {'max':>7} {'× plain':>8} {'× SimpleITK 1':>14}")
    for name, values in times.items():
        low, middle, high = (1e3 / slices * each for each in (min(values), medians[name], max(values)))
        ratios = medians[PLAIN] / medians[name], medians["SimpleITK, 1 thread"] / medians[name]
        print(f"{name:22} {1e3 / middle:9.0f} {middle:9.3f} {low:7.3f} {high:7.3f} {ratios[0]:8.2f} {ratios[1]:14.2f}")
    return times


def report_memory(folder: Path) -> dict[str, float]:
    """Measure and print peak memory as multiples of the int16 volume."""
    volume_mib = len(list(folder.iterdir())) * SIDE * SIDE * 2 / 2**20
    ratios = {name: peak_of_child(folder, name) / volume_mib for name in READERS}
    print(f"peak memory for {volume_mib:.0f} MiB of int16 volume, as a multiple of it")
    for name, ratio in ratios.items():
        print(f"{name:22} {ratio:6.2f}")
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=400)
    parser.add_argument("--memory-slices", type=int, default=MEMORY_SLICES, help="0 leaves memory out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="a folder with one CT series, instead of a made one")
    parser.add_argument("--headers", action="store_true", help="time headers alone")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--memory-of", choices=READERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print_own_peak(options.folder, options.memory_of)
        return
    with tempfile.TemporaryDirectory(prefix="ldctpipe-bench-") as temporary:
        folder = options.folder or Path(temporary, "speed")
        if not options.folder:
            folder.mkdir()
            make_series(folder, options.slices)
        if options.headers:
            headers(folder, options.repeats)
            return
        figures: dict[str, object] = {"argv": sys.argv[1:], "seconds": report_speed(folder, options.repeats)}
        if options.memory_slices:
            large = Path(temporary, "memory")
            large.mkdir()
            make_series(large, options.memory_slices)
            figures["peak_multiple"] = report_memory(large)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Texture, level and mean of simulated noise against noise that the simulation did not make.

    .venv/bin/python benchmarks/simulation_texture.py [--scans FOLDER] [--skip-kernels] [--threads 2] [--json FILE]

**Kernels**: a scanner of its own, filtered back-projection on a grid three times as fine as the pixels, read at their
centers, with Hann windows of the table's kernels and a detector that ends at 0.912/mm. Its slices are calibrated like
any series, and noise of the same dose is drawn: standard deviation and mean frequency over those of the scanner, beside
the closed form of f · A(f)². **Scans**: every series of FOLDER, its own noise against the noise added
(`ldctpipe.simulation.noise_frequency`; tail: power in the last quarter below the Nyquist frequency, own and added), and
the mean HU change by tissue at a quarter of the dose.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ldctpipe.dicom.discovery import discover_all
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import InputError
from ldctpipe.simulation.acceptance_scanner import expected_frequency_per_mm
from ldctpipe.simulation.calibrated_scan import CalibratedScan, calibrated_scan
from ldctpipe.simulation.calibration import calibrate
from ldctpipe.simulation.exposure import Exposure
from ldctpipe.simulation.field_of_view import SquareSlices, unmeasured
from ldctpipe.simulation.flux import WATER_PER_MM
from ldctpipe.simulation.kernels import match_kernel
from ldctpipe.simulation.noise import NoiseModel, dose_noise
from ldctpipe.simulation.noise_frequency import RadialPower
from ldctpipe.simulation.operators import parallel_beam
from ldctpipe.simulation.randomness import slice_deviates
from ldctpipe.simulation.validation import noise_frequencies

KERNELS = ("B20f", "B30f", "B40f", "B50f", "D45f", "SOFT", "BONE", "FC10", "YC")
PIXELS_MM = (0.5, 0.7, 0.9)
SIZE, VIEWS, SLICES, FINER, WINDOW, QUANTA = 256, 180, 8, 3, 64, 4e5
DETECTOR_ENDS_PER_MM = 0.912
DOSE = 0.25
TISSUES_HU = {
    "lung": (-950, -650),
    "fat": (-130, -60),
    "soft tissue": (0, 120),
    "bone": (300, 3000),
    "air": (-1010, -980),
}


def disc(size: int, pixel_mm: float, diameter_mm: float) -> torch.Tensor:
    """Return a disc of soft tissue in air, (1, size, size) HU."""
    line = (torch.arange(size) - (size - 1) / 2) * pixel_mm
    return torch.where(line[None] ** 2 + line[:, None] ** 2 < diameter_mm**2 / 4, 50.0, -1000.0)[None]


def scanned(cutoff_per_mm: float, pixel_mm: float, diameter_mm: float) -> np.ndarray:
    """Return noise of the reference scanner, (SLICES, SIZE, SIZE) HU."""
    size, fine_mm = FINER * SIZE, pixel_mm / FINER
    model = NoiseModel(fine_mm, size, QUANTA, views=VIEWS)
    geometry = parallel_beam(size, VIEWS)
    frequency = geometry.frequencies / fine_mm
    window = 0.5 * (1 + torch.cos(np.pi * (frequency / cutoff_per_mm).clamp(max=1)))
    response = geometry.ramp() * torch.where(frequency > DETECTOR_ENDS_PER_MM, 0.0, window)
    rays = (model.ray_quanta * model.transmitted(disc(size, fine_mm, diameter_mm))[0]).rsqrt()
    random, first, images = np.random.default_rng(5), FINER // 2, []
    for _ in range(SLICES):
        noise = rays * torch.from_numpy(random.standard_normal(rays.shape, dtype=np.float32))
        image = geometry.filtered_back_projection(noise[None], response)[0] * (1000 / (WATER_PER_MM * fine_mm))
        images.append(image[first::FINER, first::FINER].numpy())
    return np.stack(images)


def kernel_row(name: str, pixel_mm: float, threads: int) -> dict[str, Any]:
    """Return what the calibration finds of one kernel of the reference scanner, and how its noise compares."""
    cutoff_per_mm, diameter_mm = match_kernel(name).cutoff_per_mm, 0.8 * SIZE * pixel_mm
    own, truth = scanned(cutoff_per_mm, pixel_mm, diameter_mm), disc(SIZE, pixel_mm, diameter_mm)
    plain = NoiseModel(pixel_mm, SIZE, views=VIEWS)
    hu = np.rint(truth.numpy() + own).astype(np.float32)
    found = calibrate(hu, plain, match_kernel(name), np.ones(SLICES), "reference scanner", threads=threads)
    model = found.kernel.applied(plain.with_quanta(found.quanta))
    flux, deviates = model.transmitted(truth).expand(SLICES, -1, -1), slice_deviates(1, "added", range(SLICES), None)
    added = dose_noise(flux, model, 1.0, deviates, range(SLICES), np.ones(SLICES), present_dose=None).hu.numpy()
    middle = slice(SIZE // 2 - WINDOW // 2, SIZE // 2 + WINDOW // 2)
    own, added = own[:, middle, middle], added[:, middle, middle]
    frequencies = [RadialPower.of(noise, pixel_mm).mean_frequency_per_mm() for noise in (own, added)]
    return {
        "kernel": name,
        "pixel_mm": pixel_mm,
        "cutoff_per_mm": cutoff_per_mm,
        "found_cutoff_per_mm": found.kernel.cutoff_per_mm,
        "found_window_power": found.kernel.window_power,
        "sd_ratio": float(added.std() / own.std()),
        "own_per_mm": frequencies[0],
        "closed_form_per_mm": expected_frequency_per_mm(cutoff_per_mm, pixel_mm, WINDOW),
        "frequency_ratio": frequencies[1] / frequencies[0],
    }


def scan_row(scan: CalibratedScan) -> dict[str, Any]:
    """Return how the noise added to one series compares with its own, and how far tissues move."""
    kernel, volume = scan.calibration.kernel, scan.volume
    found = noise_frequencies(scan, 60)
    return {
        "series": volume.key,
        "manufacturer": volume.acquisition.manufacturer,
        "kernel": scan.kernel.name,
        "pixel_mm": round(volume.spacing_mm[2], 3),
        "slices": len(volume.hu),
        "cutoff_per_mm": kernel.cutoff_per_mm,
        "window_power": kernel.window_power,
        "own_per_mm": found and found.own_per_mm,
        "frequency_ratio": found and found.ratio,
        "relative_error": found and found.relative_error,
        "own_tail": found and found.own_tail,
        "added_tail": found and found.added_tail,
        "windows": found and found.windows,
        "mean_change_hu": mean_changes_hu(scan),
    }


def mean_changes_hu(scan: CalibratedScan) -> dict[str, float]:
    """Return the mean HU change by tissue at a quarter dose, clipped and rounded as it is stored.

    Tissues are those of the smoothed input, in up to six slices, two realisations each.
    """
    import scipy.ndimage

    volume, squares = scan.volume, SquareSlices(scan.volume)
    sums = {name: np.zeros(2) for name in TISSUES_HU}
    for index in sorted({round(place) for place in np.linspace(0.1, 0.9, 6) * (len(volume.hu) - 1)}):
        hu, transmitted = volume.hu[index].astype(np.float32), scan.noise.transmitted(squares[index])
        smooth = scipy.ndimage.gaussian_filter(hu, 2.0)
        measured = ~unmeasured(volume, index)
        for realisation in range(2):
            noise, _ = scan.noise.added(transmitted, index, Exposure(DOSE), 2, realisation)
            low = np.rint(np.clip(hu + noise[squares.middle], min(hu[measured].min(), -1024), 3071))
            for name, (lowest, highest) in TISSUES_HU.items():
                inside = (smooth > lowest) & (smooth < highest) & measured
                sums[name] += (low - hu)[inside].sum(), inside.sum()
    return {name: round(float(total / count), 3) for name, (total, count) in sums.items() if count > 4000}


def scan_rows(folder: Path, threads: int) -> list[dict[str, Any]]:
    """Return a row for each series below `folder` that can be simulated."""
    rows = []
    for series in discover_all(folder, threads).series:
        try:
            rows.append(scan_row(calibrated_scan(read_volume(series, threads), threads=threads)))
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
    return rows


def print_kernels(rows: list[dict[str, Any]]) -> None:
    head = f"{'kernel':8}{'pixel mm':>9}{'true f_c':>9}{'found':>7}{'power':>6}{'own /mm':>9}{'closed':>8}"
    print(f"{head}{'freq':>8}{'sd':>8}")
    for row in rows:
        print(
            f"{row['kernel']:8}{row['pixel_mm']:9.1f}{row['cutoff_per_mm']:9.3f}{row['found_cutoff_per_mm']:7.3f}"
            f"{row['found_window_power']:6.1f}{row['own_per_mm']:9.3f}{row['closed_form_per_mm']:8.3f}"
            f"{100 * (row['frequency_ratio'] - 1):+7.1f}%{100 * (row['sd_ratio'] - 1):+7.1f}%"
        )


def print_scans(rows: list[dict[str, Any]]) -> None:
    head = f"{'series':14}{'kernel':9}{'pixel mm':>9}{'f_c':>7}{'power':>6}"
    print(f"{head}{'own /mm':>9}{'freq':>8}{'± %':>5}{'tail %':>12}  mean change, HU")
    for row in rows:
        texture = f"{'-':>9}{'-':>8}{'-':>5}{'-':>12}"
        if row["own_per_mm"]:
            ratio, error = 100 * (row["frequency_ratio"] - 1), 100 * row["relative_error"]
            tails = f"{100 * row['own_tail']:.1f}, {100 * row['added_tail']:.1f}"
            texture = f"{row['own_per_mm']:9.3f}{ratio:+7.1f}%{error:5.1f}{tails:>12}"
        changes = ", ".join(f"{name} {value:+.2f}" for name, value in row["mean_change_hu"].items())
        print(
            f"{row['series']:14}{row['kernel'] or '-':9}{row['pixel_mm']:9.3f}{row['cutoff_per_mm']:7.3f}"
            f"{row['window_power']:6.1f}{texture}  {changes}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=Path, help="also compare the series of this folder")
    parser.add_argument("--skip-kernels", action="store_true", help="compare scans alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures here; those of other scans stay")
    options = parser.parse_args()
    machine = f"torch {torch.__version__}, {platform.machine()} CPU, {options.threads} threads"
    record: dict[str, Any] = {"machine": machine, "kernels": [], "scans": []}
    if options.json and options.json.is_file():
        record |= json.loads(options.json.read_text())
    if not options.skip_kernels:
        record["kernels"] = [kernel_row(name, pixel_mm, options.threads) for pixel_mm in PIXELS_MM for name in KERNELS]
        print_kernels(record["kernels"])
    if options.scans:
        rows = scan_rows(options.scans, options.threads)
        print_scans(rows)
        keys = {row["series"] for row in rows}
        record["scans"] = [row for row in record["scans"] if row["series"] not in keys] + rows
    if options.json:
        options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Seconds per 512×512 slice and peak memory of the dose simulation, beside scikit-image's radon and iradon.

    .venv/bin/python benchmarks/simulation.py [--threads 2] [--repeats 3] [--json FILE]

Noise insertion is timed as `ldctpipe simulate` does it (projection, random numbers, filtered back-projection), by
views and by how many slices are handed over together. scikit-image does one projection and one back-projection of the
same slice in the same rounds, so that a machine whose speed drifts slows all of them alike; ratios are of medians.
Peak memory is that of a process of its own for each row. The calibration of a series is timed at the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

SIDE, PIXEL_MM = 512, 0.7
VIEWS, BATCHES = (180, 360, 720), (1, 4, 8)


def body() -> np.ndarray:
    """Return a slice of soft tissue in air, float32 HU."""
    line = (np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL_MM
    inside = (line[None] / 165) ** 2 + (line[:, None] / 115) ** 2 < 1
    return np.where(inside, 50.0, -1000.0).astype(np.float32)


def insertion(views: int, batch: int, threads: int, device: str) -> Callable[[], None]:
    """Return what makes `batch` slices noisier, with everything that is built once built."""
    from ldctpipe.simulation.exposure import Exposure
    from ldctpipe.simulation.noise import NoiseModel
    from ldctpipe.simulation.scan_noise import ScanNoise
    from ldctpipe.simulation.workers import each_slice

    model = NoiseModel(PIXEL_MM, SIDE, views=views, device=device)
    places = tuple(2.0 * index for index in range(batch))
    scan, hu, exposure = ScanNoise(model, "benchmark", places, 3.0, (1.0,) * batch), body(), Exposure(0.25)

    def work(index: int) -> float:
        return scan.added(scan.transmitted(hu), index, exposure, 1)[1]

    def run() -> None:
        list(each_slice(work, range(batch), threads))

    run()
    return run


def scikit_image(views: int) -> Callable[[], None]:
    """Return one projection and one filtered back-projection by scikit-image."""
    from skimage.transform import iradon, radon

    image, angles_deg = 0.0192 * PIXEL_MM * (1 + body() / 1000), np.arange(views) * 180 / views

    def run() -> None:
        iradon(radon(image, angles_deg, circle=True), angles_deg, filter_name="hann", circle=True)

    return run


def seconds(work: Callable[[], None]) -> float:
    """Return the time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_mib(views: int, batch: int, threads: int, device: str) -> float:
    """Return the peak memory of a process that inserts noise, less what one that only imports it has, in MiB."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(_peak_mib_here, (views, batch, threads, device))


def _peak_mib_here(views: int, batch: int, threads: int, device: str) -> float:
    import skimage.transform  # noqa: F401 - so that all rows start from the same imports

    import ldctpipe.simulation.reduction  # noqa: F401

    before_kib = memory_kib("VmRSS")
    work = insertion(views, batch, threads, device) if batch else scikit_image(views)
    work()
    return (memory_kib("VmHWM") - before_kib) / 1024


def memory_kib(kind: str) -> int:
    """Return a figure that Linux keeps of this process: VmRSS now, VmHWM at its highest since exec."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{kind}:")))


def calibration_seconds(threads: int) -> float:
    """Return the time that the calibration of a series of 40 slices takes."""
    from ldctpipe.simulation.calibrated_scan import calibrated_scan
    from ldctpipe.volumes.volume import Acquisition, Volume

    noise = np.random.default_rng(0).normal(0, 12, (40, SIDE, SIDE))
    hu = np.rint(body()[None] + noise).astype(np.int16)
    affine = np.diag([-PIXEL_MM, -PIXEL_MM, 2.0, 1.0])
    volume = Volume(hu, affine, 2.0 * np.arange(40), acquisition=Acquisition(kernel="B30f", slice_thickness_mm=3.0))
    return seconds(lambda: calibrated_scan(volume, threads=threads) and None)


def measured(threads: int, repeats: int, device: str) -> list[dict[str, Any]]:
    """Return a row for each number of views and batch; batch 0 is scikit-image."""
    rows = []
    for views in VIEWS:
        works = {0: scikit_image(views), **{batch: insertion(views, batch, threads, device) for batch in BATCHES}}
        times: dict[int, list[float]] = {batch: [] for batch in works}
        for _ in range(repeats):
            for batch, work in works.items():
                times[batch].append(seconds(work) / max(batch, 1))
        for batch, values in times.items():
            peak = peak_mib(views, batch, threads, device)
            rows.append({"views": views, "batch": batch, "seconds_per_slice": values, "peak_mib": peak})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = measured(options.threads, options.repeats, options.device)
    machine = f"{options.device} ({platform.machine()}, {options.threads} threads)"
    print(f"torch {torch.__version__} on {machine}, {SIDE}×{SIDE}")
    print(f"{'':34} {'views':>5} {'batch':>5} {'s/slice':>9} {'min':>8} {'max':>8} {'peak MiB':>9} {'× peer':>7}")
    peers = {row["views"]: statistics.median(row["seconds_per_slice"]) for row in rows if row["batch"] == 0}
    for row in rows:
        times = row["seconds_per_slice"]
        median = statistics.median(times)
        name = "ldctpipe noise insertion" if row["batch"] else "scikit-image radon + iradon"
        print(
            f"{name:34} {row['views']:5} {row['batch'] or 1:5} {median:9.4f} {min(times):8.4f} {max(times):8.4f} "
            f"{row['peak_mib']:9.0f} {peers[row['views']] / median:7.1f}"
        )
    calibration = calibration_seconds(options.threads)
    print(f"calibration of one series: {calibration:.2f} s")
    if options.json:
        record = {"rows": rows, "calibration_s": calibration, "argv": sys.argv[1:]}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()

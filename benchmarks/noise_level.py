"""How accurate is `noise_sd_hu`? Measured on phantoms, whose noise is known, and on real CT.

    .venv/bin/python benchmarks/noise_level.py [--seeds 12 13] [--data ../shared/data]

On phantoms the truth is the median over the same patches, of the same size, of the plain standard deviation of image
minus noise-free image. On real CT it is the commonest plain standard deviation of such patches, which shares no code
with the measure, over 1.04: it keeps the anatomy, which made it that much too high in the mean of 30 phantom slices.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ldctpipe.data.scans import load_volumes
from ldctpipe.metrics.tissue import noise_sd_hu, tissue_masks
from ldctpipe.simulation.cohort import INCREMENT_MM, THICKNESS_MM, expose
from ldctpipe.simulation.kernels import match_kernel
from ldctpipe.simulation.phantom import REGIONS, make_patient, noise_free_slices
from ldctpipe.simulation.phantom_choices import BodySize
from ldctpipe.simulation.subject import scan

Array = npt.NDArray[np.float32]

PATCH_MM = 4.0
MODE_OVER_TRUTH = 1.04
_LOW_NOISE_HU = 6.0  # where the mode measures the anatomy
KERNELS = ("B10f", "B30f", "B50f", "B70f")
DOSE = 0.25


class Slice(NamedTuple):
    """A phantom slice without noise, at full and at quarter dose."""

    truth: Array
    full: Array
    low: Array
    pixel_mm: float


def phantom_slice(region: str, build: BodySize, kernel: str, seed: int) -> Slice:
    """Return one slice of 512 × 512 pixels."""
    patient = make_patient("L001", 0, seed, 1, 512, THICKNESS_MM, INCREMENT_MM, regions=(region,), build=build)
    cutoff = match_kernel(kernel).cutoff_per_mm
    truth, _ = noise_free_slices(patient, cutoff, 1)
    model = expose(patient, truth, cutoff, seed)
    full, low = scan(patient.subject, truth, model, [200], DOSE, seed, 1)
    return Slice(truth[0], full[0], low[0], patient.subject.pixel_mm)


def soft_tissue(image_hu: Array) -> npt.NDArray[np.bool_]:
    """Return the soft tissue of a slice as `evaluate` finds it."""
    measured = image_hu > -1500
    return tissue_masks(np.where(measured, image_hu, -1024), measured)["soft"]


def local_sd(image: Array, tissue: npt.NDArray[np.bool_], pixel_mm: float) -> npt.NDArray[np.float64]:
    """Return the plain standard deviation of each patch in `tissue`."""
    side = max(5, 2 * round(PATCH_MM / pixel_mm / 2) + 1)
    centers = ndimage.minimum_filter(tissue, size=side, mode="constant")
    values = image.astype(np.float64) - float(np.median(image[tissue]))
    mean = ndimage.uniform_filter(values, side)
    variance = (ndimage.uniform_filter(values**2, side) - mean**2).clip(min=0)[centers]
    return np.sqrt(variance * side**2 / (side**2 - 1))


def commonest(values: npt.NDArray[np.float64]) -> float:
    """Return the mode of `values`, from a smoothed histogram."""
    counts, edges = np.histogram(values, 100, (0, 2.5 * float(np.median(values))))
    place = int(ndimage.gaussian_filter1d(counts.astype(float), 3, mode="constant").argmax())
    return float(edges[place : place + 2].mean())


def phantom_rows(seeds: list[int]) -> Iterator[str]:
    """Yield one row per phantom: what is read without noise, and the deviation at full and at quarter dose."""
    yield "| region | build | kernel | pixel (mm) | noise-free (HU) | full dose (HU) | quarter dose (HU) |"
    yield "|---|---|---|---|---|---|---|"
    cases = [(region, build, "B30f") for region in REGIONS for build in BodySize if build is not BodySize.MIXED]
    cases += [(region, BodySize.ADULT, kernel) for region in REGIONS for kernel in KERNELS if kernel != "B30f"]
    for region, build, kernel in cases:
        for seed in seeds:
            made = phantom_slice(region, build, kernel, seed)
            tissue = soft_tissue(made.full)
            free = noise_sd_hu(made.truth, tissue, made.pixel_mm)
            cells = [_cell(image, made.truth, tissue, made.pixel_mm) for image in (made.full, made.low)]
            cells = [f"{made.pixel_mm:.2f}", "–" if free is None else f"{free:.1f}", *cells]
            yield f"| {region} | {build.value} | {kernel} | {' | '.join(cells)} |"


def _cell(image: Array, truth: Array, tissue: npt.NDArray[np.bool_], pixel_mm: float) -> str:
    read = noise_sd_hu(image, tissue, pixel_mm)
    if read is None:
        return "–"
    true = float(np.median(local_sd(image - truth, tissue, pixel_mm)))
    return f"{read:.1f} ({100 * (read / true - 1):+.1f} %)"


def real_rows(data: Path) -> Iterator[str]:
    """Yield one row per group of real scans: the ratio of both estimates, and how many slices agree."""
    yield "| scans | slices | noise (HU) | ratio, median (range) | within 10 % | the same above 6 HU |"
    yield "|---|---|---|---|---|---|"
    for name in ("raw/body", "singles", "raw/phantom_philips_5mm", "raw/head_ge_tilted"):
        found = np.array([pair for folder in _scans(data / name) for pair in _readings(folder)])
        if len(found):
            ratio, read = found[:, 0] / found[:, 1], found[:, 0]
            spread = f"{np.median(ratio):.2f} ({ratio.min():.2f}–{ratio.max():.2f})"
            cells = f"{len(found)} | {read.min():.1f}–{read.max():.1f} | {spread}"
            yield f"| {name} | {cells} | {_agreeing(ratio)} | {_agreeing(ratio[read > _LOW_NOISE_HU])} |"


def _agreeing(ratio: npt.NDArray[np.float64]) -> str:
    return f"{np.mean(abs(ratio - 1) <= 0.1):.0%}" if len(ratio) else "–"


def _scans(folder: Path) -> list[Path]:
    below = sorted(path for path in folder.iterdir() if path.is_dir())
    return below or [folder]


def _readings(folder: Path) -> Iterator[tuple[float, float]]:
    for volume in load_volumes(folder):
        for image in volume.hu:
            tissue = soft_tissue(image)
            if read := noise_sd_hu(image, tissue, volume.spacing_mm[1]):
                yield read, commonest(local_sd(image, tissue, volume.spacing_mm[1])) / MODE_OVER_TRUTH


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[12, 13])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    options = parser.parse_args()
    for row in phantom_rows(options.seeds):
        print(row, flush=True)
    if options.data.is_dir():
        print()
        for row in real_rows(options.data):
            print(row, flush=True)


if __name__ == "__main__":
    main()

"""The simulation's acceptance tests as a report: table, plots, and the same questions to a series of the user's own."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ldctpipe import __version__
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.files import new_folder, require_exists, write_json
from ldctpipe.progress import Progress
from ldctpipe.simulation.acceptance import CHECKS
from ldctpipe.simulation.acceptance_bench import Bench, Check, percent
from ldctpipe.simulation.calibrated_scan import CalibratedScan, calibrated_scan
from ldctpipe.simulation.exposure import Exposure
from ldctpipe.simulation.field_of_view import SquareSlices, unmeasured
from ldctpipe.simulation.noise_frequency import LOWEST_PER_MM, FrequencyComparison, compared_frequencies
from ldctpipe.simulation.reduction import reduced
from ldctpipe.simulation.tissue_windows import Tissue
from ldctpipe.volumes.nifti import is_nifti, read_nifti
from ldctpipe.volumes.volume import Volume

RECORD_NAME = "summary.json"
CLINICAL = Bench(size=512, views=360, slices=32, field_mm=358.4)

_DOSES = (0.5, 0.25, 0.1)
_SLICES_MEASURED = 5
_NEIGHBORS_MEASURED = 12
_REALISATIONS = 3
_LARGEST_SHIFT_HU = 0.3
_FREQUENCY_TOLERANCE = 0.05


@dataclass(frozen=True)
class Validation:
    """All checks, those of the program first, and where they were written."""

    checks: tuple[Check, ...]
    folder: Path

    @property
    def failed(self) -> list[Check]:
        """The checks that do not keep their limit."""
        return [check for check in self.checks if not check.passed]


def validate_simulation(
    out: Path, source: Path | None = None, *, bench: Bench = CLINICAL, threads: int | None = None, overwrite: bool
) -> Validation:
    """Run V1–V18, and the checks of each series of `source`, and write table and plots to the folder `out`.

    Raises `InputError` where `source` holds no series that can be used.
    """
    from ldctpipe.simulation.validation_plots import write_plots

    if source is not None:
        require_exists(source)
    with new_folder(out, overwrite=overwrite, inputs=[source] if source else []) as folder:
        volumes = _volumes(source, threads) if source else []
        progress = Progress("validate", len(CHECKS) + len(volumes), "tests")
        checks: list[Check] = []
        seconds: dict[str, float] = {}
        for name, measure in CHECKS.items():
            started = time.monotonic()
            checks.append(measure(bench))
            seconds[name] = round(time.monotonic() - started, 2)
            progress.advance()
        for volume in volumes:
            checks += series_checks(calibrated_scan(volume, threads=threads), threads)
            progress.advance()
        progress.finish()
        _write_table(folder / "validation.csv", checks)
        write_json(
            folder / RECORD_NAME,
            {
                "format": "ldctpipe-validation@1",
                "ldctpipe": __version__,
                "bench": asdict(bench),
                "checks": [_row(check) for check in checks],
                "seconds": seconds,
            },
        )
        write_plots(folder, checks)
    return Validation(tuple(checks), out)


def _volumes(source: Path, threads: int | None) -> list[Volume]:
    if is_nifti(source):
        return [read_nifti(source)]
    return [read_volume(series, threads) for series in discover(source, threads).series]


def series_checks(scan: CalibratedScan, threads: int | None = None) -> list[Check]:
    """Return what can be asked of a real series: noise by dose, mean, what must not change, texture.

    The noise of the input is measured where it was calibrated; a lower dose has to have what the equations say.
    """
    key, hu = scan.volume.key, scan.volume.hu
    squares = SquareSlices(scan.volume)
    measured = sorted({round(place) for place in np.linspace(0, len(hu) - 1, _SLICES_MEASURED)})
    pixel_mm = scan.volume.spacing_mm[2]
    kinds = Tissue.soft if scan.calibration.material != "even material" else Tissue.uniform
    inside = {index: kinds(squares[index], pixel_mm).inside[squares.middle] for index in measured}
    ratios, means, errors, curve = {}, {}, {}, []
    untouched = True
    for dose in _DOSES:
        low = reduced(scan, Exposure(dose), 1, threads=threads).hu
        change = [(low[index].astype(np.float64) - hu[index])[inside[index]] for index in measured]
        pooled = np.concatenate(change)
        expected_hu = _expected_change_hu(scan, squares, inside, dose)
        sd_hu = float(pooled.std()) if pooled.size else float("nan")
        ratios[dose], means[dose] = sd_hu / expected_hu, float(pooled.mean()) if pooled.size else float("nan")
        errors[dose] = sd_hu / max(1, pooled.size) ** 0.5
        curve.append((dose, sd_hu, expected_hu))
        untouched &= all(_kept(scan.volume, low, index) for index in measured)
    same = reduced(scan, Exposure(1.0), 1, threads=threads).hu
    level = ", ".join(f"{percent(ratio)} at {dose:g}" for dose, ratio in ratios.items())
    mean = ", ".join(f"{value:+.2f} HU at {dose:g}" for dose, value in means.items())
    identical = bool(np.array_equal(same, hu, equal_nan=hu.dtype.kind == "f")) and untouched
    return [
        Check(
            f"{key} noise",
            "added noise in tissue against its prediction",
            level,
            "±10 %",
            all(abs(ratio - 1) < 0.1 for ratio in ratios.values()),
            {"sd_against_dose": curve},
        ),
        Check(
            f"{key} mean",
            "mean HU change in tissue",
            mean,
            "< 0.3 HU or 3 SE at 0.25 and more",
            all(abs(value) < max(_LARGEST_SHIFT_HU, 3 * errors[dose]) for dose, value in means.items() if dose >= 0.25),
        ),
        Check(
            f"{key} rest",
            "dose 1, padding and what lies outside",
            "kept" if identical else "changed",
            "to the bit",
            identical,
        ),
        frequency_check(scan),
        _calibration_check(scan),
    ]


def frequency_check(scan: CalibratedScan) -> Check:
    """Return whether noise added at a quarter dose has the mean frequency of the scan's own, within 5 % or 2 SE."""
    found = noise_frequencies(scan)
    name, limit = f"{scan.volume.key} texture", "±5 % or 2 SE"
    title = f"mean frequency of added noise over the scan's own, from {LOWEST_PER_MM:g}/mm"
    if found is None:
        return Check(name, title, "too little even tissue", limit, True)
    said = (
        f"{percent(found.ratio)}: {found.added_per_mm:.3f} and {found.own_per_mm:.3f}/mm "
        f"± {100 * found.relative_error:.0f} % in {found.windows} windows ({found.source})"
    )
    passed = abs(found.ratio - 1) < max(_FREQUENCY_TOLERANCE, 2 * found.relative_error)
    return Check(name, title, said, limit, passed)


def noise_frequencies(scan: CalibratedScan, slices: int = _NEIGHBORS_MEASURED) -> FrequencyComparison | None:
    """Return the mean frequencies of own and added noise in some neighboring slices in the middle of a scan."""
    volume, squares = scan.volume, SquareSlices(scan.volume)
    first = max(0, (len(volume.hu) - slices) // 2)
    chosen = range(first, min(len(volume.hu), first + slices))
    images = [squares[index] for index in chosen]
    exposure = Exposure(0.25)
    noise = []
    for index, hu in zip(chosen, images, strict=True):
        transmitted = scan.noise.transmitted(hu)
        noise.append([scan.noise.added(transmitted, index, exposure, 1, number)[0] for number in range(_REALISATIONS)])
    rounded = volume.hu.dtype == np.int16
    return compared_frequencies(images, noise, volume.spacing_mm[2], overlap=_overlap(volume), rounded=rounded)


def _overlap(volume: Volume) -> bool:
    """Tell whether neighboring slices share noise, or may do so."""
    thickness_mm = volume.acquisition.slice_thickness_mm
    gaps_mm = np.diff(volume.positions_mm)
    return thickness_mm is None or not gaps_mm.size or float(np.median(gaps_mm)) < 0.999 * thickness_mm


def _expected_change_hu(
    scan: CalibratedScan, squares: SquareSlices, inside: dict[int, np.ndarray], dose: float
) -> float:
    """Return the standard deviation that the noise to add has over the measured tissue, by its variance map."""
    total, count = 0.0, 0
    for index, tissue in inside.items():
        flux = scan.noise.transmitted(squares[index]) * scan.noise.current[index]
        low, full = (scan.noise.model.sd_map(flux, share).cpu().numpy()[squares.middle] for share in (dose, 1.0))
        total += float((low[tissue] ** 2 - full[tissue] ** 2).sum())
        count += int(tissue.sum())
    return (total / count) ** 0.5 if count else float("nan")


def _kept(volume: Volume, low: np.ndarray, index: int) -> bool:
    nowhere = unmeasured(volume, index)
    return bool(np.array_equal(low[index][nowhere], volume.hu[index][nowhere], equal_nan=low.dtype.kind == "f"))


def _calibration_check(scan: CalibratedScan) -> Check:
    calibration = scan.calibration
    kernel = calibration.kernel
    if calibration.uncertainty is None or calibration.sd_hu is None:
        said = f"{calibration.quanta:.3g} quanta assumed"
    else:
        said = f"{calibration.quanta:.3g} quanta ± {100 * calibration.uncertainty:.0f} %, {calibration.sd_hu:.1f} HU"
    said += f"; kernel {scan.kernel.name} ends at {kernel.cutoff_per_mm:.2f}/mm ± {100 * kernel.uncertainty:.0f} %"
    passed = calibration.source == "fitted" and (calibration.uncertainty or 1.0) < 0.3
    return Check(f"{scan.volume.key} dose", "calibration of the series", said, "fitted, ± 30 % or less", passed)


def _row(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "test": check.title,
        "measured": check.measured,
        "limit": check.limit,
        "passed": check.passed,
    }


def _write_table(path: Path, checks: Sequence[Check]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ("name", "test", "measured", "limit", "passed"))
        writer.writeheader()
        writer.writerows(_row(check) for check in checks)

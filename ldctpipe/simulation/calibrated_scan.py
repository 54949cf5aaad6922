"""A volume with the noise it was made with: what a lower dose starts from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ldctpipe import __version__
from ldctpipe.errors import InputError, UsageError
from ldctpipe.simulation.calibration import Calibration, calibrate
from ldctpipe.simulation.field_of_view import SquareSlices, touches_edge
from ldctpipe.simulation.flux import current_factors
from ldctpipe.simulation.kernels import Kernel, is_iterative, match_kernel
from ldctpipe.simulation.modulation import current_from_noise
from ldctpipe.simulation.noise import DEFAULT_ELECTRONIC_RATIO, NoiseModel
from ldctpipe.simulation.scan_noise import ScanNoise
from ldctpipe.volumes.volume import Volume

PROVENANCE_KEY = "simulation"
CurrentSource = Literal["header", "noise", "none"]

_SAME_SPACING = 0.01
_STEEPEST_TILT_DEG = 35.0  # gantries tilt by 30° at most
_PLAUSIBLE_PIXEL_MM = (0.05, 5.0)
_HEAD_PARTS = ("HEAD", "BRAIN", "SKULL", "FACE", "SINUS", "ORBIT")
_SEVERAL = 5


@dataclass(frozen=True)
class Overrides:
    """What the user states instead of what is fitted, looked up or assumed; None leaves it at that."""

    quanta: float | None = None
    cutoff_per_mm: float | None = None
    electronic_ratio: float | None = None

    def __post_init__(self) -> None:
        values = {
            "quanta": self.quanta,
            "line pairs per mm of --kernel-cutoff": self.cutoff_per_mm,
            "quanta² per quantum of --electronic": self.electronic_ratio,
        }
        for name, value in values.items():
            lowest_is_zero = name.endswith("--electronic")
            if value is not None and not (math.isfinite(value) and (value > 0 or (lowest_is_zero and value == 0))):
                wanted = "0 or more, such as 7e-5" if lowest_is_zero else "a positive number"
                raise UsageError(None, f"{value:g} {name} can't be", f"give {wanted}")


@dataclass(frozen=True)
class CalibratedScan:
    """A volume, its noise, and where that comes from.

    `current_source` tells where the tube current of each slice is from; "none" means that it is taken as constant.
    """

    volume: Volume
    noise: ScanNoise
    kernel: Kernel
    calibration: Calibration
    modulated: bool
    current_source: CurrentSource
    truncated: bool

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know before believing the noise."""
        found = []
        if not self.kernel.known and self.calibration.kernel.measured_per_mm is None:
            name = self.kernel.name or "without a name"
            found.append(f"kernel {name} is not known; noise texture of a medium-soft one is used")
        if self.kernel.iterative:
            fault = "the header tells of iterative or learned reconstruction, whose noise is not that of FBP"
            found.append(f"{fault}; the simulated texture is an approximation")
        if self.truncated:
            found.append("the patient reaches beyond the field of view; what lies outside attenuates nothing here")
        return (*found, *self.calibration.warnings)

    def record(self) -> dict[str, Any]:
        """Return how the noise of the scan was found, for provenance."""
        calibration, model = self.calibration, self.noise.model
        return {
            "ldctpipe": __version__,
            "quanta": calibration.quanta,
            "quanta_source": calibration.source,
            "quanta_relative_uncertainty": calibration.uncertainty,
            "quanta_measured_in": calibration.material,
            "windows": calibration.windows,
            "noise_of_input_hu": calibration.sd_hu,
            "electronic_ratio": model.electronic_ratio,
            "kernel": self.kernel.name,
            "kernel_known": self.kernel.known,
            "kernel_table_per_mm": self.kernel.cutoff_per_mm,
            "kernel_measured_per_mm": calibration.kernel.measured_per_mm,
            "kernel_cutoff_per_mm": model.cutoff_per_mm,
            "kernel_cutoff_relative_uncertainty": calibration.kernel.uncertainty,
            "kernel_edge_boost_mm2": model.edge_boost,
            "kernel_window_power": model.window_power,
            "channels_per_pixel": model.channels_per_pixel,
            "not_fbp": self.kernel.iterative,
            "truncated": self.truncated,
            "bow_tie": model.bow_tie,
            "tube_current_modulation": self.modulated,
            "tube_current_source": self.current_source,
            "angular_modulation": model.angular_modulation,
            "views": model.views,
        }


def calibrated_scan(
    volume: Volume,
    overrides: Overrides | None = None,
    *,
    reconstruction: str = "",
    views: int = 360,
    device: str = "cpu",
    threads: int | None = None,
) -> CalibratedScan:
    """Return `volume` with the noise that it was made with, fitted once for the series.

    `reconstruction` is text of the header that may name the reconstruction method. Raises `InputError` for a volume
    that was reduced or denoised before, for slices that are not axial, and for pixels that are not square.
    """
    check_volume(volume)
    overrides = overrides or Overrides()
    kernel = match_kernel(volume.acquisition.kernel)
    kernel = replace(kernel, iterative=kernel.iterative or is_iterative(reconstruction))
    current, modulated = _tube_current(volume)
    model = _model(volume, modulated, overrides.electronic_ratio, views, device)
    slices = SquareSlices(volume)
    calibrated = partial(
        calibrate,
        slices,
        model,
        kernel,
        key=volume.key,
        quanta=overrides.quanta,
        cutoff_per_mm=overrides.cutoff_per_mm,
        rounded=volume.hu.dtype == np.int16,
        threads=threads,
    )
    calibration = calibrated(current)
    places = np.asarray(volume.positions_mm, dtype=np.float64)
    source: CurrentSource = "header" if _has_current(volume) else "none"
    if source == "none" and calibration.source == "fitted":
        constant = calibration.kernel.applied(model.with_quanta(calibration.quanta))
        found = current_from_noise(slices, places, constant, threads)
        if found is not None:
            current, source = found, "noise"
            calibration = calibrated(current, fitted=calibration.kernel)
    model = calibration.kernel.applied(model.with_quanta(calibration.quanta))
    noise = ScanNoise(
        model, volume.key, tuple(places.tolist()), volume.acquisition.slice_thickness_mm, tuple(current.tolist())
    )
    return CalibratedScan(volume, noise, kernel, calibration, modulated, source, _truncated(slices))


def check_volume(volume: Volume) -> None:
    """Raise `InputError` where noise of a lower dose can't be added to `volume`, in one sentence that says why."""
    place = f"series {volume.key}"
    if PROVENANCE_KEY in volume.provenance:
        raise InputError(place, "is a simulated lower dose already", "give the scan that it was made from")
    if "denoised" in volume.provenance:
        raise InputError(place, "was denoised, so its noise tells no dose", "give the scan that it was made from")
    normal = np.cross(volume.affine[:3, 0], volume.affine[:3, 1])
    tilt_deg = math.degrees(math.acos(min(1.0, abs(float(normal[2])) / float(np.linalg.norm(normal)))))
    if tilt_deg > _STEEPEST_TILT_DEG:
        fault = f"has slices {tilt_deg:.0f}° away from axial, and noise was made in axial ones"
        raise InputError(place, fault, "give the axial series that it was reformatted from")
    _, row_mm, column_mm = volume.spacing_mm
    if abs(row_mm / column_mm - 1) > _SAME_SPACING:
        fault = f"has pixels of {row_mm:g} × {column_mm:g} mm"
        raise InputError(place, fault, "give slices with square pixels")
    low_mm, high_mm = _PLAUSIBLE_PIXEL_MM
    if not low_mm <= column_mm <= high_mm:
        fault = f"has pixels of {column_mm:g} mm, which no CT has"
        raise InputError(place, fault, "give the series with its right pixel spacing")


def _tube_current(volume: Volume) -> tuple[npt.NDArray[np.float64], bool]:
    """Return the relative tube current of each slice, and whether the header shows that it was modulated."""
    for values in (volume.acquisition.tube_current_ma, volume.acquisition.exposure_mas):
        factors = current_factors(values, len(volume.hu))
        if np.ptp(factors) > 0.005:
            return factors, True
    return np.ones(len(volume.hu)), False


def _has_current(volume: Volume) -> bool:
    """Tell whether the header has the tube current or the exposure of every slice."""
    sources = (volume.acquisition.tube_current_ma, volume.acquisition.exposure_mas)
    return any(
        values is not None and len(values) == len(volume.hu) and all(value and value > 0 for value in values)
        for values in sources
    )


def _model(volume: Volume, modulated: bool, electronic_ratio: float | None, views: int, device: str) -> NoiseModel:
    part = (volume.acquisition.body_part or "").upper()
    return NoiseModel(
        pixel_mm=volume.spacing_mm[2],
        size=SquareSlices(volume).size,
        electronic_ratio=DEFAULT_ELECTRONIC_RATIO if electronic_ratio is None else electronic_ratio,
        bow_tie="small" if any(name in part for name in _HEAD_PARTS) else "large",
        angular_modulation=1.0 if modulated else 0.0,
        views=views,
        device=device,
    )


def _truncated(slices: SquareSlices) -> bool:
    """Tell whether the patient reaches the edge of the field of view in any of some slices."""
    places = {round(place) for place in np.linspace(0, len(slices) - 1, _SEVERAL)}
    return any(touches_edge(slices[index]) for index in sorted(places))

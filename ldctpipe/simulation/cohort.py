"""A simulated paired cohort in the folder layout of the AAPM-Mayo 2016 challenge, with its noise-free truth.

OUT/full_3mm/L001/full_3mm/L001_FD_3_1.CT.0001.0001.….IMA         full dose
OUT/quarter_3mm/L001/quarter_3mm/L001_QD_3_1.CT.0001.0001.….IMA   reduced dose
OUT/truth/L001.nii                                                what both would be without noise
OUT/truth/inserts.csv                                             where lesions and nodules are
OUT/phantom.json                                                  how each patient was made
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ldctpipe import __version__
from ldctpipe.errors import UsageError
from ldctpipe.files import new_folder, write_json
from ldctpipe.progress import Progress
from ldctpipe.simulation.ct_image import PhantomSeries, write_ct_image
from ldctpipe.simulation.flux import current_factors
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.kernels import match_kernel
from ldctpipe.simulation.noise import NoiseModel, dose_noise
from ldctpipe.simulation.phantom import FoundInsert, PhantomPatient, make_patient, noise_free_slices, tube_currents_ma
from ldctpipe.simulation.randomness import generator, slice_deviates
from ldctpipe.simulation.workers import each_slice, worker_count
from ldctpipe.volumes.nifti import write_nifti

THICKNESS_MM = 3.0
INCREMENT_MM = 2.0
KERNEL = "B30f"
# Noise in the liver that agrees with RMSE 14.24 HU between the quarter and full dose of Mayo patient L506.
_FULL_DOSE_SD_HU = (11.7, 13.1)
_SMALLEST_SIZE = 64


def make_phantom_cohort(
    out: Path,
    patients: int,
    slices: int,
    seed: int,
    *,
    dose: float = 0.25,
    size: int = 512,
    threads: int | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a cohort to `out` and return its two folders of series (full dose, reduced dose).

    Raises `UsageError` for a dose that is not between 0 and 1 or a size that is too small or odd.
    """
    if not 0.0 < dose < 1.0:
        raise UsageError(
            None, f"a dose of {dose:g} is not between 0 and 1", "give the share of the full dose, such as 0.25"
        )
    if size < _SMALLEST_SIZE or size % 8:
        raise UsageError(
            None, f"slices of {size} pixels can't be made", f"give a multiple of 8 from {_SMALLEST_SIZE} on"
        )
    progress = Progress("phantoms", patients * slices, "slices")
    with new_folder(out, overwrite=overwrite) as folder:
        records = []
        for number in range(patients):
            patient = make_patient(f"L{number + 1:03d}", number, seed, slices, size, THICKNESS_MM, INCREMENT_MM)
            records.append(_write_patient(folder, patient, seed, dose, threads, progress))
        _write_inserts(folder / "truth" / "inserts.csv", records)
        settings = {"seed": seed, "dose": dose, "size": size, "slices": slices, "kernel": KERNEL}
        made = [{key: value for key, value in record.items() if key != "inserts"} for record in records]
        write_json(folder / "phantom.json", {"ldctpipe": __version__, **settings, "patients": made})
    progress.finish()
    return [out / "full_3mm", out / _low_name(dose)]


def _low_name(dose: float) -> str:
    return "quarter_3mm" if dose == 0.25 else f"dose{100 * dose:g}_3mm"


def _write_patient(
    folder: Path, patient: PhantomPatient, seed: int, dose: float, threads: int | None, progress: Progress
) -> dict[str, Any]:
    cutoff_per_mm = match_kernel(KERNEL).cutoff_per_mm
    truth, found = noise_free_slices(patient, cutoff_per_mm, threads, progress.advance)
    current_ma = tube_currents_ma(patient)
    model = exposed_model(patient, truth, cutoff_per_mm, seed)
    full, low = scan(patient, truth, model, current_ma, dose, seed, threads)
    truth_path = folder / "truth" / f"{patient.name}.nii"
    truth_path.parent.mkdir(exist_ok=True)
    write_nifti(truth_path, np.rint(truth).astype(np.int16), affine(patient))
    for name, letters, hu, share in (("full_3mm", "FD", full, 1.0), (_low_name(dose), "QD", low, dose)):
        series_folder = folder / name / patient.name / name
        series_folder.mkdir(parents=True)
        _write_series(series_folder, patient, seed, letters, hu, current_ma, share, threads)
    return {
        "patient": patient.name,
        "region": patient.region,
        "pixel_mm": round(patient.pixel_mm, 6),
        "quanta": float(f"{model.quanta:.6g}"),
        "electronic_ratio": model.electronic_ratio,
        "tube_current_ma": list(current_ma),
        "inserts": [_insert_row(patient, place) for place in found],
    }


def exposed_model(patient: PhantomPatient, truth: Image, cutoff_per_mm: float, seed: int) -> NoiseModel:
    """Return the noise model whose quanta give the full dose its noise in soft tissue, like exposure control."""
    model = NoiseModel(patient.pixel_mm, patient.size, cutoff_per_mm=cutoff_per_mm, angular_modulation=1.0)
    middle = len(truth) // 2
    hu = truth[middle]
    transmitted = model.transmitted(torch.from_numpy(hu[None]))
    trial = slice_deviates(seed, patient.name, [0.0], None)
    noise = dose_noise(transmitted, model, 1.0, trial, [0], np.ones(1), present_dose=None, purpose="exposure")
    tissue = (hu > 0) & (hu < 150) & _central(patient)
    wanted_sd_hu = generator(seed, patient.name, "exposure").uniform(*_FULL_DOSE_SD_HU)
    return model.with_quanta(model.quanta * float(noise.hu[0].numpy()[tissue].var()) / wanted_sd_hu**2)


def _central(patient: PhantomPatient) -> npt.NDArray[np.bool_]:
    line = (np.arange(patient.size) - (patient.size - 1) / 2) * patient.pixel_mm
    build = patient.anatomy.build
    inside: npt.NDArray[np.bool_] = (line[None] / build.half_width) ** 2 + (line[:, None] / build.half_depth) ** 2 < 0.4
    return inside


def scan(
    patient: PhantomPatient,
    truth: Image,
    model: NoiseModel,
    current_ma: Sequence[int],
    dose: float,
    seed: int,
    threads: int | None = None,
) -> tuple[Image, Image]:
    """Return the slices at full dose and at `dose`, float32 HU; the second is the first with the noise to add."""
    deviates = slice_deviates(seed, patient.name, patient.positions_mm, patient.thickness_mm)
    current = current_factors(list(current_ma), len(truth))

    def make(index: int) -> tuple[Image, Image]:
        transmitted = model.transmitted(torch.from_numpy(truth[index][None]))
        place = deviates, [index], current
        own = dose_noise(transmitted, model, 1.0, *place, present_dose=None, purpose="full dose")
        added = dose_noise(transmitted, model, dose, *place, purpose="low dose")
        full = truth[index] + own.hu[0].numpy()
        return full, full + added.hu[0].numpy()

    made = list(each_slice(make, range(len(truth)), threads))
    return np.stack([full for full, _ in made]), np.stack([low for _, low in made])


def affine(patient: PhantomPatient) -> npt.NDArray[np.float64]:
    """Return the map from (column, row, slice, 1) to RAS millimetres."""
    edge_mm = (patient.size - 1) / 2 * patient.pixel_mm
    matrix = np.diag([-patient.pixel_mm, -patient.pixel_mm, INCREMENT_MM, 1.0])
    matrix[:3, 3] = edge_mm, edge_mm, patient.positions_mm[0]
    return matrix


def _write_series(
    folder: Path,
    patient: PhantomPatient,
    seed: int,
    letters: str,
    hu: Image,
    current_ma: Sequence[int],
    share: float,
    threads: int | None,
) -> None:
    study = f"ldctpipe phantom {__version__} seed {seed} {patient.name} {len(hu)}×{patient.size}"
    series = PhantomSeries(
        identity=f"{study} {letters} {share:g}",
        study_identity=study,
        patient=patient.name,
        body_part={"thorax": "CHEST"}.get(patient.region, patient.region.upper()),
        description=f"{'Full' if letters == 'FD' else 'Low'} dose {THICKNESS_MM:g} mm {KERNEL}",
        number=1 if letters == "FD" else 2,
        pixel_mm=patient.pixel_mm,
        thickness_mm=patient.thickness_mm,
        increment_mm=INCREMENT_MM,
        exposure_share=share,
    )

    def write(index: int) -> None:
        number = len(hu) - index  # scanners count from the head down
        name = f"{patient.name}_{letters}_3_1.CT.0001.{number:04d}.2024.01.01.12.00.00.000000.{index:09d}.IMA"
        write_ct_image(folder / name, series, hu[index], index, patient.positions_mm[index], current_ma[index])

    with ThreadPoolExecutor(worker_count(threads)) as pool:
        list(pool.map(write, range(len(hu))))


def _insert_row(patient: PhantomPatient, found: FoundInsert) -> dict[str, Any]:
    middle = (patient.size - 1) / 2
    return {
        "patient": patient.name,
        "kind": found.insert.kind,
        "x_mm": round((found.column - middle) * patient.pixel_mm, 2),
        "y_mm": round((found.row - middle) * patient.pixel_mm, 2),
        "z_mm": round(found.insert.centre[2], 2),
        "slice": found.slice_index,
        "row": found.row,
        "column": found.column,
        "radius_mm": round(found.insert.radius_mm, 2),
        "contrast_hu": round(found.insert.contrast_hu, 1),
    }


def _write_inserts(path: Path, records: list[dict[str, Any]]) -> None:
    columns = ("patient", "kind", "x_mm", "y_mm", "z_mm", "slice", "row", "column", "radius_mm", "contrast_hu")
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(row for record in records for row in record["inserts"])

"""Which slices the page shows, and each as four pictures with a magnified region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ldctpipe.metrics.samples import Sample
from ldctpipe.metrics.slices import BASELINE
from ldctpipe.reporting.colours import grey
from ldctpipe.reporting.pictures import Box, as_data_uri, body_box, coloured_difference, structured_region
from ldctpipe.reporting.run_folder import Run
from ldctpipe.reporting.viewer import packed_sample

_PICTURE_BYTES = 1_900_000
_VIEWER_BYTES = 2_400_000


@dataclass(frozen=True)
class Picture:
    """One image as a data URI, with its caption and what it says about itself to those who can't see it."""

    title: str
    figures: str
    uri: str
    alt: str


@dataclass(frozen=True)
class Plate:
    """Low dose, denoised, full dose and difference of one slice; `region` lies inside the shown `rows` × `columns`."""

    patient: str
    position_mm: float
    rows: int
    columns: int
    region: Box
    pictures: tuple[Picture, ...]


def plates_of(run: Run) -> list[Plate]:
    """Return as many slices as fit into the page, patients taking turns."""
    plates: list[Plate] = []
    spent = 0
    for sample in by_turns(run.samples):
        plate = _plate(sample, run)
        spent += sum(len(picture.uri) for picture in plate.pictures)
        if plates and spent > _PICTURE_BYTES:
            break
        plates.append(plate)
    return plates


def viewer_samples(run: Run) -> list[dict[str, Any]]:
    """Return as many packed slices as fit into the page, in the order of patients and positions."""
    kept: list[tuple[Sample, dict[str, Any]]] = []
    spent = 0
    for sample in by_turns(run.samples):
        packed = packed_sample(sample, body_box(sample.hu[2]))
        spent += sum(map(len, packed["images"].values()))
        if spent > _VIEWER_BYTES:
            break
        kept.append((sample, packed))
    return [packed for _, packed in sorted(kept, key=lambda pair: (pair[0].patient, pair[0].position_mm))]


def by_turns(samples: Sequence[Sample]) -> Iterator[Sample]:
    """Yield samples so that each patient comes once before any comes twice, slices in the middle of a patient first."""
    queues = []
    for patient in dict.fromkeys(sample.patient for sample in samples):
        own = [sample for sample in samples if sample.patient == patient]
        middle = float(np.mean([sample.position_mm for sample in own]))
        queues.append(sorted(own, key=lambda sample: abs(sample.position_mm - middle)))
    for turn in range(max(map(len, queues), default=0)):
        yield from (queue[turn] for queue in queues if turn < len(queue))


def _plate(sample: Sample, run: Run) -> Plate:
    low, denoised, full = sample.hu
    box = body_box(full)
    region = structured_region(full[box.index])
    where = f"patient {sample.patient}, slice at {sample.position_mm:.1f} mm"
    pictures = (
        _picture("Low dose", low, box, where, _figures(run, sample, BASELINE)),
        _picture("Denoised", denoised, box, where, _figures(run, sample, run.method)),
        _picture("Full dose", full, box, where, "reference"),
        Picture(
            "Denoised − full dose",
            f"sd {float((denoised[box.index].astype(np.float32) - full[box.index]).std()):.1f} HU in the area shown",
            as_data_uri(coloured_difference(denoised[box.index], full[box.index])),
            f"Difference of denoised and full dose, {where}, from −100 HU in blue to +100 HU in red",
        ),
    )
    return Plate(sample.patient, sample.position_mm, box.height, box.width, region, pictures)


def _picture(title: str, hu: np.ndarray, box: Box, where: str, figures: str) -> Picture:
    return Picture(title, figures, as_data_uri(grey(hu[box.index])), f"{title}, {where}, soft-tissue window; {figures}")


def _figures(run: Run, sample: Sample, method: str) -> str:
    if run.slices is None:
        return ""
    table = run.slices
    found = table[
        (table["method"] == method)
        & (table["patient"] == sample.patient)
        & (table["series"] == sample.series)
        & ((table["slice_position_mm"] - sample.position_mm).abs() < 0.01)
    ]
    if found.empty or pd.isna(found.iloc[0]["psnr_db"]):
        return ""
    row = found.iloc[0]
    return f"{row['psnr_db']:.2f} dB, SSIM {row['ssim']:.3f}, RMSE {row['rmse_hu']:.1f} HU"

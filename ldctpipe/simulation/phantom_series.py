"""How the series of a phantom are laid out in folders, and written: full dose, reduced dose, noise-free truth."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ldctpipe import __version__
from ldctpipe.simulation.ct_image import PhantomSeries, write_ct_image
from ldctpipe.simulation.images import Image
from ldctpipe.simulation.phantom_choices import Like
from ldctpipe.simulation.subject import Subject
from ldctpipe.simulation.workers import worker_count


class Role(str, Enum):
    """What a series of a phantom is; the value is the short form in its identity and in Mayo file names."""

    FULL = "FD"
    LOW = "QD"
    TRUTH = "NF"


@dataclass(frozen=True)
class Layout:
    """Folders of the series of a patient, and the names of files in them."""

    full: str
    low: str
    truth: str
    file: str

    def folder(self, role: Role, patient: str, dose: float) -> Path:
        """Return the folder of a series below that of the cohort."""
        template = {Role.FULL: self.full, Role.LOW: self.low, Role.TRUTH: self.truth}[role]
        return Path(template.format(patient=patient, low=mayo_low_name(dose)))

    def file_name(self, role: Role, patient: str, number: int, index: int) -> str:
        """Return the name of image `number` (from 1) with the place `index` along z (from 0, feet first)."""
        return self.file.format(patient=patient, letters=role.value, number=number, index=index)


def mayo_low_name(dose: float) -> str:
    """Return the name of a folder of reduced-dose series as in the AAPM-Mayo challenge."""
    return "quarter_3mm" if dose == 0.25 else f"dose{100 * dose:g}_3mm"


LAYOUTS = {
    Like.MAYO: Layout(
        full="full_3mm/{patient}/full_3mm",
        low="{low}/{patient}/{low}",
        truth="truth/{patient}",
        file="{patient}_{letters}_3_1.CT.0001.{number:04d}.2024.01.01.12.00.00.000000.{index:09d}.IMA",
    ),
    Like.TCIA: Layout(
        full="{patient}/01-01-2024-NA-NA-00001/1.000000-Full Dose Images-00001",
        low="{patient}/01-01-2024-NA-NA-00001/2.000000-Low Dose Images-00002",
        truth="truth/{patient}",
        file="1-{number:03d}.dcm",
    ),
    Like.PLAIN: Layout(
        full="{patient}/full_dose", low="{patient}/low_dose", truth="truth/{patient}", file="{number:04d}.dcm"
    ),
}


@dataclass(frozen=True)
class SeriesText:
    """What the headers of a phantom's series say besides its geometry; `study` is the text that UIDs come from."""

    study: str
    body_part: str
    kernel: str
    dose: float
    description: str = "Simulated body phantom"

    def series(self, subject: Subject, role: Role) -> PhantomSeries:
        """Return the header of the series `role`; the noise-free one has the tube current of the full dose."""
        share = self.dose if role is Role.LOW else 1.0
        words = {Role.FULL: "Full dose", Role.LOW: "Low dose", Role.TRUTH: "Noise-free"}[role]
        return PhantomSeries(
            identity=f"{self.study} {role.value} {share:g}",
            study_identity=self.study,
            patient=subject.name,
            body_part=self.body_part,
            description=f"{words} {subject.thickness_mm:g} mm {self.kernel}",
            number={Role.FULL: 1, Role.LOW: 2, Role.TRUTH: 3}[role],
            pixel_mm=subject.pixel_mm,
            thickness_mm=subject.thickness_mm,
            increment_mm=subject.increment_mm,
            exposure_share=share,
            kernel=self.kernel,
            study_description=self.description,
        )


def study_of(subject: Subject, seed: int) -> str:
    """Return the text that tells the studies of phantoms apart."""
    return f"ldctpipe phantom {__version__} seed {seed} {subject.name} {len(subject.positions_mm)}×{subject.size}"


def write_series(
    root: Path,
    layout: Layout,
    subject: Subject,
    text: SeriesText,
    role: Role,
    hu: Image,
    current_ma: Sequence[int],
    threads: int | None,
) -> None:
    """Write one series of `hu` (slices, size, size), feet first, below `root`."""
    folder = root / layout.folder(role, subject.name, text.dose)
    folder.mkdir(parents=True)
    series = text.series(subject, role)

    def write(index: int) -> None:
        number = len(hu) - index  # scanners count from the head down
        path = folder / layout.file_name(role, subject.name, number, index)
        write_ct_image(path, series, hu[index], index, subject.positions_mm[index], current_ma[index])

    with ThreadPoolExecutor(worker_count(threads)) as pool:
        list(pool.map(write, range(len(hu))))

"""What a denoising job is: the bundle, what it does to pixels, and the form in which results are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ldctpipe import __version__
from ldctpipe.dicom.compression import Compression
from ldctpipe.dicom.deidentification import Deidentifier
from ldctpipe.dicom.derivation import Derivation
from ldctpipe.dicom.series import Series
from ldctpipe.recipes.bundle import Bundle

FORMAT = "ldctpipe-denoised@1"


@dataclass(frozen=True)
class OutputForm:
    """How results are written; none of it changes a pixel.

    `nifti` asks for a NIfTI file of each series beside its DICOM files. `keep_identifiers` lets PatientID name folders
    and stand in manifests. With a `deidentifier`, everything that is written goes through it.
    """

    compression: Compression = Compression.NONE
    keep_private: bool = False
    nifti: bool = False
    keep_identifiers: bool = False
    deidentifier: Deidentifier | None = None

    def published(self, series: Series) -> Series:
        """Return `series` under the keys and UIDs that outputs and their descriptions may show."""
        return self.deidentifier.series(series) if self.deidentifier else series

    def published_name(self, name: str) -> str:
        """Return the name in the outputs for a patient named `name` in the cohort."""
        return self.deidentifier.published_name(name) if self.deidentifier else name

    def describe(self) -> dict[str, Any]:
        """Return the form as plain values; of a de-identification key, a fingerprint."""
        return {
            "compression": self.compression.value,
            "keep_private": self.keep_private,
            "nifti": self.nifti,
            "keep_identifiers": self.keep_identifiers,
            "deidentified_with": self.deidentifier.fingerprint if self.deidentifier else None,
        }


@dataclass(frozen=True)
class Job:
    """Everything that decides the bytes of an output, but the source: model, settings, form, the run's time stamp."""

    bundle: Bundle
    blend: float
    run_time: datetime
    form: OutputForm = field(default_factory=OutputForm)

    @property
    def settings(self) -> str:
        """What the user chose that changes pixels, as text."""
        return f"blend={self.blend:g}"

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of the job; beside moved dates, the time of the run would tell their shift."""
        return {
            "format": FORMAT,
            "ldctpipe": __version__,
            "model": {
                "name": self.bundle.name,
                "title": self.bundle.recipe.title,
                "sha256": self.bundle.weights_sha256,
                "notes": self.bundle.card.get("notes", []),
            },
            "settings": self.settings,
            "form": self.form.describe(),
            "run_time": None if self.form.deidentifier else self.run_time.isoformat(),
        }

    def derivation(self) -> Derivation:
        """Return what the derived images say of their making."""
        name = self.bundle.name
        notes = " ".join(self.bundle.card.get("notes", []))
        return Derivation(
            description=f"Noise reduction by ldctpipe {__version__}, model {name}, {self.settings}. {notes}".strip(),
            code_value="NOISERED",
            code_meaning="Noise reduction",
            series_suffix=f"ldctpipe {name}",
            equipment_model=f"ldctpipe {name}",
            software_version=__version__,
            weights_sha256=self.bundle.weights_sha256,
            settings=f"{self.settings} recipe={self.bundle.card['recipe_sha256']}",
            run_time=self.run_time,
        )

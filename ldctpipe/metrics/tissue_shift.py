"""Shifts of CT numbers by tissue beside their gates, for the cohort and for the patient with the largest one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ldctpipe.metrics.tissue import TISSUES, Tissue


@dataclass(frozen=True)
class TissueShift:
    """One tissue's mean of image minus full dose in HU: over patients, and of the patient with the largest.

    `mean_hu` is None where no patient shows the tissue; so are `patient` and `patient_hu`.
    """

    tissue: Tissue
    mean_hu: float | None
    patient: str | None
    patient_hu: float | None
    n_patients: int

    @property
    def is_shifted(self) -> bool:
        """Whether the mean over patients is beyond the gate."""
        return self.tissue.is_shifted(self.mean_hu)

    @property
    def is_shifted_in_a_patient(self) -> bool:
        """Whether any patient is beyond the gate."""
        return self.tissue.is_shifted(self.patient_hu)

    @property
    def sentence(self) -> str | None:
        """Return what to warn of, with the patient who is worst; None where all is within the gate."""
        if not self.is_shifted_in_a_patient and not self.is_shifted:
            return None
        gate = f"the gate is ±{self.tissue.gate_hu:g} HU"
        patient = f"{self.patient_hu:+.2f} HU in patient {self.patient}"
        if not self.is_shifted:
            return f"CT numbers of {self.tissue.title} are shifted by {patient}; {gate}, which the cohort's mean keeps."
        worst = f"; the largest shift is {patient}" if self.n_patients > 1 and self.is_shifted_in_a_patient else ""
        return f"CT numbers of {self.tissue.title} are shifted by {self.mean_hu:+.2f} HU; {gate}{worst}."


def tissue_shifts(summary: dict[str, Any], method: str) -> tuple[TissueShift, ...]:
    """Return the shift of every tissue under a method of a summary, in the order of `TISSUES`."""
    return tuple(_shift(summary, method, tissue) for tissue in TISSUES)


def _shift(summary: dict[str, Any], method: str, tissue: Tissue) -> TissueShift:
    patients = {
        name: methods[method][tissue.measure] for name, methods in summary["patients"].items() if method in methods
    }
    known = {name: value for name, value in patients.items() if value is not None}
    worst = max(known, key=lambda name: abs(known[name]), default=None)
    mean_hu = summary["methods"][method][tissue.measure]["mean"]
    return TissueShift(tissue, mean_hu, worst, known[worst] if worst else None, len(known))

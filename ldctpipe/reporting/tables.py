"""The report's tables and lists as data, ready for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ldctpipe.metrics.endpoints import ST_LPIPS
from ldctpipe.metrics.published import PublishedRow, published_table
from ldctpipe.metrics.slices import BASELINE
from ldctpipe.metrics.table import distances_of, relation_to_published, st_lpips_cells, with_spread
from ldctpipe.metrics.tissue import SOFT_TISSUE, TISSUES
from ldctpipe.metrics.tissue_shift import TissueShift, tissue_shifts


@dataclass(frozen=True)
class Row:
    """One row: its heading, its cells, and what is wrong with it, if anything."""

    label: str
    cells: tuple[str, ...]
    remark: str | None = None
    ours: bool = False


@dataclass(frozen=True)
class Group:
    """Rows that belong together, under a line across the table."""

    title: str | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """A table with its caption; `head` names the columns, the first one that of the row headings.

    The last `prose` columns hold sentences instead of figures.
    """

    caption: str
    head: tuple[str, ...]
    groups: tuple[Group, ...]
    prose: int = 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """The remarks of all rows with the row that each is about."""
        return tuple(f"{row.label}: {row.remark}." for group in self.groups for row in group.rows if row.remark)


@dataclass(frozen=True)
class Headline:
    """One figure at the top of the page: name, value, and the comparison that gives it a meaning."""

    name: str
    value: str
    comparison: str
    good: bool | None


def headlines(summary: dict[str, Any], method: str) -> list[Headline]:
    """Return the figures that a reader takes away first."""
    low, model = summary["methods"][BASELINE], summary["methods"][method]
    found = []
    for name, measure, digits, unit, sign in (
        ("PSNR", "psnr_db", 2, " dB", 1),
        ("SSIM", "ssim", 3, "", 1),
        ("RMSE", "rmse_hu", 2, " HU", -1),
    ):
        before, after = low[measure]["mean"], model[measure]["mean"]
        if before is not None and after is not None:
            change = f"{fixed(after - before, digits, sign=True)}{unit} against low dose ({before:.{digits}f})"
            found.append(Headline(name, f"{after:.{digits}f}{unit}", change, sign * (after - before) > 0))
    bias_hu = model["bias_hu"]["mean"]
    if bias_hu is not None:
        found.append(
            Headline(
                "Soft-tissue bias",
                f"{fixed(bias_hu, 2, sign=True)} HU",
                f"gate: within ±{SOFT_TISSUE.gate_hu:g} HU",
                not SOFT_TISSUE.is_shifted(bias_hu),
            )
        )
    noise_hu = model["noise_sd_hu"]["mean"]
    if noise_hu is not None:
        before, full = fixed(low["noise_sd_hu"]["mean"], 1), fixed(model["full_dose_noise_sd_hu"]["mean"], 1)
        found.append(Headline("Noise", f"{noise_hu:.1f} HU", f"low dose {before}, full dose {full}", None))
    return found


def cohort_table(summary: dict[str, Any]) -> Table:
    """Return the cohort's figures by method with the published ones below, where the protocol is theirs."""
    published = published_table()
    distances = tuple(distance.title for distance in distances_of(summary)) or ("FID",)
    more = (ST_LPIPS.title,) if summary.get("st_lpips") else ()
    groups = [Group("This run", tuple(_cohort_row(summary, name) for name in summary["methods"]))]
    if summary["protocol"] == published.protocol:
        rows = tuple(_published_row(row, len(distances), len(more)) for row in published.rows)
        groups.append(Group(_published_title(summary), rows))
    head = ("Images", "PSNR (dB)", "SSIM", "RMSE (HU)", "PSNR gain (dB)", *distances, *more)
    spread = "over patients" if summary["n_patients"] > 1 else "over the slices of the one patient"
    return Table(f"Mean ± standard deviation {spread}, {summary['protocol']}", head, tuple(groups))


def _cohort_row(summary: dict[str, Any], name: str) -> Row:
    values = summary["methods"][name]
    cells = (with_spread(values["psnr_db"], 2), with_spread(values["ssim"], 3), with_spread(values["rmse_hu"], 2))
    distances = tuple(distance.cell(summary, name) for distance in distances_of(summary)) or ("–",)
    label = "Low dose" if name == BASELINE else name
    more = st_lpips_cells(summary, name)
    return Row(label, (*cells, _gain(summary, name), *distances, *more), ours=name != BASELINE)


def _gain(summary: dict[str, Any], name: str) -> str:
    if name == BASELINE or summary["gains"][name]["psnr_db"]["mean"] is None:
        return "–"
    gain = summary["gains"][name]["psnr_db"]
    interval = "" if gain["ci95"] is None else " [{:+.2f}, {:+.2f}]".format(*gain["ci95"])
    return _minus(f"{gain['mean']:+.2f}{interval}")


def _published_title(summary: dict[str, Any]) -> str:
    return f"Published ({published_table().data}): {relation_to_published(summary)}"


def _published_row(row: PublishedRow, distances: int, more: int) -> Row:
    published = published_table()
    gain = "–" if row.method == published.baseline else f"{published.gain_db(row):+.2f}"
    fid = "{:.1f} ± {:.1f}".format(*row.fid)
    return Row(row.method, (*row.cells, gain, *["–"] * (distances - 1), fid, *["–"] * more), published.remark(row))


def tissue_table(summary: dict[str, Any]) -> Table:
    """Return the CT-number bias of each tissue with its gate, by method.

    Below a method that is beyond a gate in a patient stands the patient with the largest bias.
    """
    gates = Row("Gate", tuple(f"±{tissue.gate_hu:g}" for tissue in TISSUES))
    rows = [_tissue_row("Low dose", tissue_shifts(summary, BASELINE)), gates]
    for method in (name for name in summary["methods"] if name != BASELINE):
        shifts = tissue_shifts(summary, method)
        rows.append(_tissue_row(method, shifts, ours=True))
        if any(shift.is_shifted_in_a_patient for shift in shifts):
            rows.append(Row("Patient with the largest", tuple(_worst_cell(shift) for shift in shifts)))
    head = tuple(f"{tissue.title} {_minus(f'({tissue.lower_hu:g} … {tissue.upper_hu:g})')}" for tissue in TISSUES)
    return Table(
        "CT-number bias in HU: mean of image minus full dose, by tissue (range of CT numbers)",
        ("Images", *head),
        (Group(None, tuple(rows)),),
    )


def _tissue_row(label: str, shifts: Sequence[TissueShift], *, ours: bool = False) -> Row:
    beyond = joined([shift.tissue.title for shift in shifts if shift.is_shifted]) if ours else "–"
    remark = None if beyond == "–" else f"beyond the gate in {beyond}"
    return Row(label, tuple(fixed(shift.mean_hu, 2, sign=True) for shift in shifts), remark, ours)


def _worst_cell(shift: TissueShift) -> str:
    if not shift.is_shifted_in_a_patient:
        return ""
    return f"{fixed(shift.patient_hu, 2, sign=True)} ({shift.patient})"


def patient_table(summary: dict[str, Any], method: str) -> Table:
    """Return one row per patient with each measure before and after `method`."""
    head = (
        "Patient",
        "Slices",
        "PSNR low (dB)",
        "PSNR denoised (dB)",
        "Gain (dB)",
        "SSIM low",
        "SSIM denoised",
        "RMSE low (HU)",
        "RMSE denoised (HU)",
    )
    rows = tuple(
        _patient_row(name, summary["slices_per_patient"].get(name, 0), values[BASELINE], values[method])
        for name, values in summary["patients"].items()
        if method in values
    )
    return Table(f"{method}: mean over the slices of each patient", head, (Group(None, rows),))


def _patient_row(name: str, slices: int, low: dict[str, Any], model: dict[str, Any]) -> Row:
    gain = None if low["psnr_db"] is None or model["psnr_db"] is None else model["psnr_db"] - low["psnr_db"]
    cells = [str(slices), fixed(low["psnr_db"], 2), fixed(model["psnr_db"], 2), fixed(gain, 2, sign=True)]
    for measure, digits in (("ssim", 3), ("rmse_hu", 2)):
        cells += [fixed(low[measure], digits), fixed(model[measure], digits)]
    return Row(name, tuple(cells))


def fixed(value: float | None, digits: int, *, sign: bool = False) -> str:
    """Return a number with a true minus sign, or a dash for None."""
    if value is None:
        return "–"
    return _minus(f"{value:{'+' if sign else ''}.{digits}f}")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def joined(values: Sequence[Any]) -> str:
    """Return values as one readable list."""
    return ", ".join(str(value) for value in values) if values else "–"

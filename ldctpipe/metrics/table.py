"""The table that `evaluate`, `report` and the demo print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ldctpipe.metrics.endpoint_text import REST, endpoint_groups
from ldctpipe.metrics.endpoints import ST_LPIPS
from ldctpipe.metrics.published import PublishedRow, published_table
from ldctpipe.metrics.slices import BASELINE
from ldctpipe.metrics.tissue import TISSUES
from ldctpipe.metrics.tissue_shift import TissueShift, tissue_shifts

_LABEL, _CELL = 27, 17
_SHOWN_PUBLISHED = ("LDCT", "EfficientNetV2-WGAN-GP")


def printable_table(summary: dict[str, Any]) -> str:
    """Return the cohort's figures under their protocol, with the published rows of L506 below, in plain text."""
    methods = summary["methods"]
    measured = ("PSNR (dB)", "SSIM", "RMSE (HU)", "gain (dB)", "bias (HU)", "noise (HU)")
    distances = [distance.title for distance in distances_of(summary)]
    distances += [ST_LPIPS.title] if summary.get("st_lpips") else []
    lines = [heading(summary), "", _row("", *measured, *distances), *(_method_row(summary, name) for name in methods)]
    full_dose_noise = methods[BASELINE]["full_dose_noise_sd_hu"]["mean"]
    lines.append(_row("full_dose", "", "", "", "", "", _number(full_dose_noise, 1)))
    lines += ["", *_tissue_lines(summary), "", *_published_lines(summary)]
    for group in endpoint_groups(summary):
        lines += ["", f"{group.title}:", *(f"  {line}" for line in group.lines)]
    if summary["endpoints"]:
        lines += ["", REST]
    return "\n".join(line.rstrip() for line in lines)


def heading(summary: dict[str, Any]) -> str:
    """Return the sentence that says what the figures are."""
    protocol = summary["protocol_definition"]
    low_hu, high_hu = protocol["window_hu"]
    spread = "patients" if summary["n_patients"] > 1 else "slices"
    counts = f"{_count(summary['n_patients'], 'patient')}, {_count(summary['n_slices'], 'slice')}"
    averaged = summary.get("n_averaged_slices", summary["n_slices"])
    if averaged != summary["n_slices"]:
        counts += f" ({averaged} of them in the means)"
    window = f"window {low_hu:g} to {high_hu:g} HU, data range {protocol['data_range_hu']:g} HU"
    return f"{counts}; protocol {summary['protocol']} ({window}); mean ± sd over {spread}"


def with_spread(value: dict[str, Any], digits: int) -> str:
    """Return `mean ± sd`, with the spread over slices where one patient has none, or a dash."""
    if value["mean"] is None:
        return "–"
    spread = value["sd"] if value["sd"] is not None else value.get("slice_sd")
    mean = f"{value['mean']:.{digits}f}"
    return mean if spread is None else f"{mean} ± {spread:.{digits}f}"


@dataclass(frozen=True)
class Distance:
    """A feature distance: its name in the summary, its heading, and how many digits are printed."""

    name: str
    title: str
    digits: int

    def cell(self, summary: dict[str, Any], method: str) -> str:
        """Return the distance of a method's images from the full dose as it is printed."""
        return _number(feature_distance(summary, method, self.name), self.digits)


# First the one that is right for few images too.
DISTANCES = (Distance("kid", "KID", 4), Distance("fid", "FID", 2))


def feature_distance(summary: dict[str, Any], method: str, name: str) -> float | None:
    """Return "kid" or "fid" of a method's images; None where it was not measured."""
    distances = summary.get("feature_distances")
    return distances["methods"][method][name] if distances else None


def distances_of(summary: dict[str, Any]) -> tuple[Distance, ...]:
    """Return the feature distances that were measured."""
    return DISTANCES if summary.get("feature_distances") else ()


def st_lpips_cells(summary: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return the cell of a method's ST-LPIPS; none where it was not measured."""
    if not summary.get("st_lpips"):
        return ()
    return (_number(summary["methods"][name][ST_LPIPS.measure]["mean"], ST_LPIPS.digits),)


def relation_to_published(summary: dict[str, Any]) -> str:
    """Say whether a run under the protocol of the published table measured the same patient: by name and slices.

    Anything can be called L506; another number of slices is another reconstruction, a part of it, or a phantom.
    """
    published = published_table()
    if set(summary["patients"]) != {published.patient}:
        return "other data: not comparable"
    if summary["n_slices"] != published.slices:
        return f"{summary['n_slices']} slices here: not comparable"
    return "same patient"


def _method_row(summary: dict[str, Any], name: str) -> str:
    values = summary["methods"][name]
    gain_db = None if name == BASELINE else summary["gains"][name]["psnr_db"]["mean"]
    return _row(
        name,
        with_spread(values["psnr_db"], 2),
        with_spread(values["ssim"], 3),
        with_spread(values["rmse_hu"], 2),
        "" if gain_db is None else f"{gain_db:+.2f}",
        _number(values["bias_hu"]["mean"], 2, sign=True),
        _number(values["noise_sd_hu"]["mean"], 1),
        *(distance.cell(summary, name) for distance in distances_of(summary)),
        *st_lpips_cells(summary, name),
    )


def _tissue_lines(summary: dict[str, Any]) -> list[str]:
    """Return the bias of each tissue by method with its gate, and a line for each that is beyond it."""
    lines = [_tissue_row("CT-number bias (HU)", [tissue.title for tissue in TISSUES])]
    for name in summary["methods"]:
        lines.append(_tissue_row(name, [_shift_cell(shift) for shift in tissue_shifts(summary, name)]))
    lines.append(_tissue_row("gate", [f"±{tissue.gate_hu:g} " for tissue in TISSUES]))
    for name in summary["methods"]:
        if name != BASELINE:
            sentences = (shift.sentence for shift in tissue_shifts(summary, name))
            lines += [f"* {name}: {sentence}" for sentence in sentences if sentence]
    return lines


def _shift_cell(shift: TissueShift) -> str:
    return _number(shift.mean_hu, 2, sign=True) + ("*" if shift.is_shifted else " ")


def _tissue_row(label: str, cells: list[str]) -> str:
    return f"{label:<{_LABEL}}" + "".join(f"{cell:>13}" for cell in cells)


def _published_lines(summary: dict[str, Any]) -> list[str]:
    table = published_table()
    if summary["protocol"] != table.protocol:
        return [f"Published figures use {table.protocol} and are not shown beside {summary['protocol']}."]
    lines = [f"Published: {table.source},", f"{table.data} ({relation_to_published(summary)})"]
    return lines + [_published_row(summary, row) for row in table.rows if row.method in _SHOWN_PUBLISHED]


def _published_row(summary: dict[str, Any], row: PublishedRow) -> str:
    table = published_table()
    gain = "" if row.method == table.baseline else f"{table.gain_db(row):+.2f}"
    distances = ("", f"{row.fid[0]:.2f}") if distances_of(summary) else ()
    return _row(row.method, *row.cells, gain, "", "", *distances)


def _row(label: str, *cells: str) -> str:
    wide = "".join(f"{cell:>{_CELL}}" for cell in cells[:3])
    return f"{label:<{_LABEL}}{wide}" + "".join(f"{cell:>11}" for cell in cells[3:])


def _number(value: float | None, digits: int, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

"""The patients' table in the form that MultiQC picks up by itself (`*_mqc.tsv`, custom content)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ldctpipe.metrics.endpoints import PRIMARY, ST_LPIPS, find_endpoint
from ldctpipe.metrics.tissue import TISSUES

_MEASURES = ("psnr_db", "ssim", "rmse_hu", *(tissue.measure for tissue in TISSUES), "noise_sd_hu")


def multiqc_table(summary: dict[str, Any]) -> str:
    """Return a tab-separated table with one row per patient and method, under MultiQC's comment header.

    MultiQC marks a bias beyond the gate of its tissue as failed.
    """
    measures = [*_MEASURES, *([ST_LPIPS.measure] if summary.get("st_lpips") else [])]
    primary = summary["endpoints"][PRIMARY]
    against = _cell(primary["against"]).replace("'", "''")  # as YAML wants it between single quotes
    endpoint = f"Primary endpoint: {find_endpoint(primary['measure']).title} against {against}."
    lines = [
        "# id: 'ldctpipe'",
        "# section_name: 'Low-dose CT denoising'",
        f"# description: 'Mean over slices of each patient, protocol {summary['protocol']}. {endpoint}'",
        "# plot_type: 'table'",
        *_headers(),
        "\t".join(("Sample", "method", *measures)),
    ]
    for patient, methods in summary["patients"].items():
        for method, values in methods.items():
            figures = ("" if values[m] is None else f"{values[m]:.6g}" for m in measures)
            lines.append("\t".join((f"{_cell(patient)} {_cell(method)}", _cell(method), *figures)))
    return "\n".join(lines) + "\n"


def _headers() -> Iterator[str]:
    """Yield what MultiQC has to know of the columns that have a gate, as YAML behind the comment sign."""
    yield "# headers:"
    for tissue in TISSUES:
        gate = f"{tissue.gate_hu:g}"
        yield f"#   {tissue.measure}:"
        yield f"#     title: 'Bias, {tissue.title} (HU)'"
        yield f"#     description: 'Mean of image minus full dose; the gate is ±{gate} HU'"
        yield f"#     cond_formatting_rules: {{fail: [{{gt: {gate}}}, {{lt: -{gate}}}]}}"


def _cell(text: str) -> str:
    return " ".join(text.split())

"""The patients' table in the form that MultiQC picks up by itself (`*_mqc.tsv`, custom content)."""

from __future__ import annotations

from typing import Any

from ldctpipe.metrics.endpoints import PRIMARY, ST_LPIPS, find_endpoint

_MEASURES = ("psnr_db", "ssim", "rmse_hu", "bias_hu", "noise_sd_hu")


def multiqc_table(summary: dict[str, Any]) -> str:
    """Return a tab-separated table with one row per patient and method, under MultiQC's comment header."""
    measures = [*_MEASURES, *([ST_LPIPS.measure] if summary.get("st_lpips") else [])]
    primary = summary["endpoints"][PRIMARY]
    against = _cell(primary["against"]).replace("'", "''")  # as YAML wants it between single quotes
    endpoint = f"Primary endpoint: {find_endpoint(primary['measure']).title} against {against}."
    lines = [
        "# id: 'ldctpipe'",
        "# section_name: 'Low-dose CT denoising'",
        f"# description: 'Mean over slices of each patient, protocol {summary['protocol']}. {endpoint}'",
        "# plot_type: 'table'",
        "\t".join(("Sample", "method", *measures)),
    ]
    for patient, methods in summary["patients"].items():
        for method, values in methods.items():
            figures = ("" if values[m] is None else f"{values[m]:.6g}" for m in measures)
            lines.append("\t".join((f"{_cell(patient)} {_cell(method)}", _cell(method), *figures)))
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split())

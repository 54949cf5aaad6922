"""The patients' table in the form that MultiQC picks up by itself (`*_mqc.tsv`, custom content)."""

from __future__ import annotations

from typing import Any

_MEASURES = ("psnr_db", "ssim", "rmse_hu", "bias_hu", "noise_sd_hu")


def multiqc_table(summary: dict[str, Any]) -> str:
    """Return a tab-separated table with one row a patient and method, under MultiQC's comment header."""
    lines = [
        "# id: 'ldctpipe'",
        "# section_name: 'Low-dose CT denoising'",
        f"# description: 'Mean over slices of each patient, protocol {summary['protocol']}.'",
        "# plot_type: 'table'",
        "\t".join(("Sample", "method", *_MEASURES)),
    ]
    for patient, methods in summary["patients"].items():
        for method, values in methods.items():
            figures = ("" if values[m] is None else f"{values[m]:.6g}" for m in _MEASURES)
            lines.append("\t".join((f"{_cell(patient)} {_cell(method)}", _cell(method), *figures)))
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split())

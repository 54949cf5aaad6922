"""The report: one HTML file that carries everything it shows and that no network or script of others can touch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ldctpipe.files import write_text
from ldctpipe.metrics.endpoint_text import REST, endpoint_groups
from ldctpipe.metrics.published import published_table
from ldctpipe.metrics.slices import BASELINE
from ldctpipe.metrics.table import heading, printable_table
from ldctpipe.reporting.colours import SOFT_WINDOW_HU
from ldctpipe.reporting.comparison_tables import comparisons_table, equivalence_table
from ldctpipe.reporting.curves import along_patients, paired_lines
from ldctpipe.reporting.document import render_page
from ldctpipe.reporting.facts import facts_of
from ldctpipe.reporting.findings import findings_of
from ldctpipe.reporting.pictures import DIFFERENCE_HU, difference_stops
from ldctpipe.reporting.run_folder import Run, read_run
from ldctpipe.reporting.slices import plates_of, viewer_samples
from ldctpipe.reporting.tables import cohort_table, headlines, patient_table, tissue_table
from ldctpipe.reporting.training_curves import training_curves

_MOST_PROFILES = 3


def write_report(run: Path, out: Path) -> str:
    """Write the page about the run folder `run` to the file `out` and return the cohort table as text.

    Raises `InputError` when `run` holds neither an evaluation nor a model, or one of its parts can't be read.
    """
    found = read_run(run)
    write_text(out, render(found))
    return printable_table(found.summary) if found.summary else "This run was not evaluated: there are no figures."


def render(run: Run) -> str:
    """Return the page as HTML: self-contained, with a policy that allows nothing but its own style and script."""
    return render_page(
        "report.html",
        script_file="viewer.js",
        method=run.method,
        methods=run.methods,
        findings=findings_of(run),
        facts=facts_of(run),
        recipe=run.recipe_text,
        inputs=(run.summary or {}).get("inputs", {}),
        **_figures(run),
        **_pictures(run),
    )


def _figures(run: Run) -> dict[str, Any]:
    summary = run.summary
    return {
        "heading": heading(summary) if summary else None,
        "headlines": headlines(summary, run.method) if summary else [],
        "endpoints": endpoint_groups(summary) if summary else [],
        "rest": REST,
        "cohort": cohort_table(summary) if summary else None,
        "tissue": tissue_table(summary) if summary else None,
        "equivalence": equivalence_table(summary) if summary else None,
        "patients": [patient_table(summary, method) for method in run.methods] if summary else [],
        "comparisons": comparisons_table(summary) if summary else None,
        "notes": summary["notes"] if summary else {},
        "published": published_table(),
        "training_curves": training_curves(run.training) if run.training is not None else None,
        "paired_lines": paired_lines(summary["patients"], BASELINE, run.method) if summary else None,
        "profiles": _profiles(run),
    }


def _profiles(run: Run) -> str | None:
    if run.summary is None or run.slices is None or len(run.summary["patients"]) > _MOST_PROFILES:
        return None
    return along_patients(run.slices, list(run.summary["patients"]), BASELINE, run.method)


def _pictures(run: Run) -> dict[str, Any]:
    return {
        "plates": plates_of(run),
        "samples": viewer_samples(run),
        "window_hu": SOFT_WINDOW_HU,
        "difference_hu": DIFFERENCE_HU,
        "difference_stops": difference_stops(),
    }

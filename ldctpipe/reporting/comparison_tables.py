"""The report's tables of methods compared over patients, and of the equivalence of CT numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ldctpipe.metrics.endpoint_text import corrected, verdict
from ldctpipe.metrics.endpoints import PRIMARY, SAFETY, find_endpoint
from ldctpipe.metrics.slices import BASELINE
from ldctpipe.reporting.tables import Group, Row, Table, fixed


def comparisons_table(summary: dict[str, Any]) -> Table | None:
    """Return the difference of each pair of methods in each measure, with effect size and test; None without any."""
    if not summary["comparisons"]:
        return _tests_of_format_1(summary)
    rows = tuple(_comparison_row(each) for each in summary["comparisons"])
    head = (
        "Measure",
        "Images",
        "Against",
        "Endpoint",
        "Patients",
        "Mean difference [95 %]",
        "BCa interval",
        "Better in",
        "Rank-biserial",
        "p",
        "p after Holm",
        "Smallest p",
        "Test",
    )
    caption = "Methods compared over patients: paired differences, t interval of the mean, two-sided signed-rank test"
    return Table(caption, head, (Group(None, rows),), prose=1)


def _comparison_row(comparison: dict[str, Any]) -> Row:
    endpoint, difference = find_endpoint(comparison["measure"]), comparison["difference"]
    improved, effect = comparison["improved_percent"], comparison["rank_biserial"]
    digits = endpoint.digits
    unit = f" ({endpoint.unit})" if endpoint.unit else ""
    mean = f"{fixed(difference['mean'], digits, sign=True)} {_interval(difference.get('ci95'), digits)}"
    cells = (
        comparison["method"],
        "low dose" if comparison["baseline"] == BASELINE else comparison["baseline"],
        comparison["role"],
        str(comparison["n_patients"]),
        mean.strip(),
        _interval(difference.get("bca95"), digits) or "–",
        "–" if improved is None else f"{improved:.0f} %",
        fixed(effect, 2, sign=True),
        "–" if comparison["p"] is None else f"{comparison['p']:.2g}",
        "–" if comparison["p"] is None else f"{comparison['p_holm']:.2g}",
        f"{comparison['smallest_p_holm']:.2g}",
        comparison["note"] or corrected(comparison).partition(";")[0],
    )
    return Row(endpoint.title + unit, cells, ours=comparison["role"] == PRIMARY)


def _interval(pair: Sequence[float] | None, digits: int) -> str:
    return "" if pair is None else f"[{fixed(pair[0], digits, sign=True)}, {fixed(pair[1], digits, sign=True)}]"


def equivalence_table(summary: dict[str, Any]) -> Table | None:
    """Return, by method and tissue, whether the bias is shown to lie within its margin; None without any."""
    if not summary["equivalence"]:
        return None
    rows = tuple(
        Row(
            each["method"],
            (
                each["tissue"],
                each["role"],
                str(each["n_patients"]),
                f"±{each['margin_hu']:g}",
                fixed(each["mean"], 2, sign=True),
                _interval(each["ci90"], 2) or "–",
                verdict(each),
            ),
            ours=each["role"] == SAFETY,
        )
        for each in summary["equivalence"]
    )
    head = (
        "Images",
        "Tissue",
        "Endpoint",
        "Patients",
        "Margin (HU)",
        "Mean bias (HU)",
        "90 % interval (HU)",
        "Result",
    )
    caption = "Equivalence of CT numbers with the full dose: two one-sided t tests at 5 % over patients"
    return Table(caption, head, (Group(None, rows),), prose=1)


def _tests_of_format_1(summary: dict[str, Any]) -> Table | None:
    if not summary["tests"]:
        return None
    rows = tuple(
        Row(
            test["measure"],
            (str(test["n_patients"]), f"{test['median_difference']:+.3g}", f"{test['p']:.3g}", f"{test['p_holm']:.3g}"),
        )
        for test in summary["tests"]
    )
    head = ("Measure", "Patients", "Median difference", "p", "p after Holm")
    return Table(
        "Wilcoxon signed-rank test over patients, denoised against low dose, two-sided", head, (Group(None, rows),)
    )

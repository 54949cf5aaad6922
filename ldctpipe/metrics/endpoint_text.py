"""The primary and the safety endpoint in words, for the printed table and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ldctpipe.metrics.endpoints import EXPLORATORY, PRIMARY, SAFETY, find_endpoint

REST = "All other figures are secondary or exploratory."


@dataclass(frozen=True)
class EndpointGroup:
    """What an endpoint is, and one line per model on it."""

    title: str
    lines: tuple[str, ...]


def endpoint_groups(summary: dict[str, Any]) -> list[EndpointGroup]:
    """Return the primary and the safety endpoint, and models compared by the primary; none for a format 1 summary."""
    if summary["endpoints"] is None:
        return []
    primary, safety = summary["endpoints"][PRIMARY], summary["endpoints"][SAFETY]
    title = find_endpoint(primary["measure"]).title
    by_primary = [each for each in summary["comparisons"] if each["measure"] == primary["measure"]]
    between = tuple(
        f"{each['method']} minus {each['baseline']}: {compared_text(each)}"
        for each in by_primary
        if each["role"] == EXPLORATORY
    )
    return [
        EndpointGroup(
            f"Primary endpoint, {title} minus that of {primary['against']}, mean over patients",
            tuple(f"{each['method']}: {compared_text(each)}" for each in by_primary if each["role"] == PRIMARY),
        ),
        EndpointGroup(
            f"Safety endpoint, mean bias of soft tissue over patients within ±{safety['margin_hu']:g} HU",
            tuple(f"{each['method']}: {equivalence_text(each)}" for each in safety_results(summary)),
        ),
        *([EndpointGroup(f"Exploratory, {title} between models", between)] if between else []),
    ]


def safety_results(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the results of the safety endpoint, one per model."""
    return [each for each in summary["equivalence"] if each["role"] == SAFETY]


def compared_text(comparison: dict[str, Any]) -> str:
    """Return a comparison as difference, interval, share of patients improved, and test or why there is none."""
    endpoint, difference = find_endpoint(comparison["measure"]), comparison["difference"]
    if difference["mean"] is None:
        return "no patient has it in both"
    parts = [endpoint.text(difference["mean"])]
    if interval := difference.get("ci95"):
        parts.append("95 % interval {} to {}".format(*map(endpoint.text, interval)))
    parts.append(f"better in {comparison['improved_percent']:.0f} % of patients")
    if comparison["p"] is None:
        return f"{', '.join(parts)}; no test: {comparison['note']}"
    return f"{', '.join(parts)}; p {comparison['p_holm']:.2g} ({corrected(comparison)})"


def corrected(comparison: dict[str, Any]) -> str:
    """Return which test gave the p of a comparison, its correction and the smallest p that it can give."""
    test = comparison["test"].removesuffix(", two-sided")
    family = "" if comparison["compared"] == 1 else f", Holm over {comparison['compared']}"
    return f"{test}{family}; smallest possible {comparison['smallest_p_holm']:.2g}"


def equivalence_text(result: dict[str, Any]) -> str:
    """Return mean bias, 90 % interval and verdict of one equivalence test."""
    if result["mean"] is None:
        return "not measured"
    mean = f"{result['mean']:+.2f} HU"
    if result["ci90"] is None:
        return f"{mean}; no test on {result['n_patients']} patient(s)"
    low, high = result["ci90"]
    return f"{mean}, 90 % interval {low:+.2f} to {high:+.2f} HU: {verdict(result)}"


def verdict(result: dict[str, Any]) -> str:
    """Return the outcome of one equivalence test in words."""
    if result["ci90"] is None:
        return "too few patients"
    low, high = result["ci90"]
    if result["equivalent"]:
        return "within the margin"
    return "beyond the margin" if max(low, -high) > result["margin_hu"] else "not shown to be within the margin"

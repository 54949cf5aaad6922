"""What was run, as lists of name and value: model, training, data, measuring, software."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ldctpipe.metrics.protocols import Protocol
from ldctpipe.progress import duration
from ldctpipe.reporting.run_folder import Run
from ldctpipe.reporting.tables import joined

Facts = dict[str, str]
# The command line and the parameters hold paths, which may name patients or people: they stay in run.json.
_SHOWN_OF_RECORD = ("pipeline", "profile", "started", "finished", "resumed", "container_engine", "versions")


def facts_of(run: Run) -> dict[str, Facts]:
    """Return the facts of a run by heading; what the run does not say is left out."""
    groups = {
        "Model": _model(run.card or {}),
        "Training": _training((run.card or {}).get("training", {})),
        "Training data": _data((run.card or {}).get("data", {})),
        "Measurement": _measurement(run.summary or {}),
        "Pipeline run": _flat({name: value for name, value in (run.record or {}).items() if name in _SHOWN_OF_RECORD}),
        "Software": _software(run),
    }
    return {heading: facts for heading, facts in groups.items() if facts}


def _model(card: Mapping[str, Any]) -> Facts:
    weights, normalization = card.get("weights", {}), card.get("normalization", {})
    return _known(
        {
            "Recipe": card.get("name"),
            "Title": card.get("title"),
            "Parameters": f"{weights['parameters']:,}" if isinstance(weights.get("parameters"), int) else None,
            "Weights (SHA-256)": weights.get("sha256"),
            "Recipe (SHA-256)": card.get("recipe_sha256"),
            "Starting weights": _start(card),
            "Normalisation": "{lower_hu:g} to {upper_hu:g} HU".format(**normalization) if normalization else None,
            "Intended use": card.get("intended_use"),
        }
    )


def _start(card: Mapping[str, Any]) -> str | None:
    if card.get("lineage"):
        before = card["lineage"][0]
        return f"bundle {before.get('name')} ({before.get('weights', {}).get('sha256', '')[:12]}…)"
    words = {True: "ImageNet", False: "none, trained from scratch"}
    return words[card["pretrained"]] if "pretrained" in card else None


def _training(training: Mapping[str, Any]) -> Facts:
    seconds = training.get("seconds")
    return _known(
        {
            "Iterations": training.get("iterations"),
            "Stopped because": training.get("stopped_because"),
            "Best iteration": training.get("best_iteration"),
            "Weights kept": f"of the {training['kept']} iteration" if "kept" in training else None,
            "Validation loss": f"{training['validation_loss']:.5g}"
            if training.get("validation_loss") is not None
            else None,
            "Time": duration(seconds) if seconds is not None else None,
            "Device": _devices(training),
            "Seed": training.get("seed"),
        }
    )


def _devices(training: Mapping[str, Any]) -> str | None:
    device, number = training.get("device"), training.get("devices", 1)
    return f"{number} × {device}" if number > 1 else device


def _data(data: Mapping[str, Any]) -> Facts:
    return _known(
        {
            "Patients": joined(data["patients"]) if "patients" in data else None,
            "Validation patients": joined(data["validation_patients"]) if "validation_patients" in data else None,
            "Slice pairs": data.get("slices"),
            "Slice spacing": _range_mm(data, "slice_spacing_mm"),
            "Pixel size": _range_mm(data, "pixel_mm"),
            "Slice thickness": _range_mm(data, "thickness_mm"),
            "Store (SHA-256)": data.get("store_sha256"),
        }
    )


def _range_mm(data: Mapping[str, Any], name: str) -> str | None:
    ends = (data.get("voxels") or {}).get(name)
    return " to ".join(f"{end:.4g}" for end in dict.fromkeys(ends)) + " mm" if ends else None


def _measurement(summary: Mapping[str, Any]) -> Facts:
    if not summary:
        return {}
    protocol = Protocol.model_validate(summary["protocol_definition"])
    form = protocol.ssim
    constants = f"K {form.k1:g}/{form.k2:g}, HU + {protocol.hu_offset:g}"
    return {
        "Protocol": f"{protocol.label}: {protocol.title}",
        "Window": "{:g} to {:g} HU, data range {:g} HU".format(*protocol.window_hu, protocol.data_range_hu),
        "SSIM": f"Gaussian {form.window}×{form.window}, σ {form.sigma:g}, {constants}",
        "Pixels": protocol.mask_text,
        "Patients": joined(list(summary["patients"])),
        "Slices": str(summary["n_slices"]),
        "Intervals": "; ".join(_interval(form) for form in summary["intervals"].values()),
    }


def _interval(form: Mapping[str, Any]) -> str:
    words = f"95 % over patients, {form['method']}"
    if "resamples" in form:
        words += f", {form['resamples']} resamples, seed {form.get('seed')}"
    return words + (f", from {form['least_patients']} patients on" if "least_patients" in form else "")


def _software(run: Run) -> Facts:
    versions = {**(run.card or {}).get("versions", {}), **(run.summary or {}).get("versions", {})}
    facts = {name: str(number) for name, number in versions.items()}
    revision = (run.card or {}).get("revision")
    return {**facts, "Revision": str(revision)} if revision else facts


def _flat(record: Mapping[str, Any], prefix: str = "") -> Facts:
    facts: Facts = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            facts |= _flat(value, f"{prefix}{name} ")
        elif value is not None and value != "":
            facts[f"{prefix}{name}".replace("_", " ")] = joined(value) if isinstance(value, list) else str(value)
    return facts


def _known(facts: Mapping[str, Any]) -> Facts:
    return {name: str(value) for name, value in facts.items() if value is not None}

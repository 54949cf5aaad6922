"""The list of protocols, for people and for programs."""

from __future__ import annotations

import json

from ldctpipe.metrics.protocols import DEFAULT_PROTOCOL, Protocol, all_protocols


def protocols_as_json() -> str:
    """Return the complete definitions as a JSON array; `label` is the name that figures carry."""
    return json.dumps([{"label": p.label, **p.model_dump(mode="json")} for p in all_protocols()], indent=2)


def protocols_as_text() -> str:
    """Return one line a protocol under a heading, the default marked."""
    heading = ("protocol", "window HU", "range HU", "what it is for")
    lines = [_line(*heading)]
    lines += [_line(p.label, _window(p), f"{p.data_range_hu:g}", _purpose(p)) for p in all_protocols()]
    lines += [
        "",
        "PSNR and SSIM use the range; RMSE is in HU after the clip to the window. Scanner padding is left out in all.",
    ]
    return "\n".join(lines)


def _window(protocol: Protocol) -> str:
    return "{:g} … {:g}".format(*protocol.window_hu)


def _purpose(protocol: Protocol) -> str:
    return protocol.title + (" (default)" if protocol.name == DEFAULT_PROTOCOL else "")


def _line(label: str, window: str, data_range: str, purpose: str) -> str:
    return f"{label:<14}{window:<16}{data_range:>8}  {purpose}"

"""A page that carries all it shows: its style and script stand in it, and its policy lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ldctpipe import __version__

START = b"<!doctype html>"  # of every page, in lower case


def render_page(template: str, *, script_file: str | None = None, **values: Any) -> str:
    """Return `template` as HTML with the shared style, and with `script_file` where the page needs a script.

    The template gets `policy`, `style`, `script` and `version` beside `values`; what it shows of them is escaped.
    """
    style = _asset("report.css")
    script = _asset(script_file) if script_file else ""
    scripts = f"script-src '{_digest(script)}'; " if script else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; {scripts}base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=PackageLoader("ldctpipe.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        policy=policy,
        style=Markup(style),  # the package's own files; their digests stand in the policy
        script=Markup(script),
        version=__version__,
        **values,
    )


def _asset(name: str) -> str:
    return resources.files("ldctpipe.reporting").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")

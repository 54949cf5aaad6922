"""Which recipes the package ships, and the text that each consists of."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent
_BASE = re.compile(rb"^base: *([\w-]+)", re.MULTILINE)


def shipped_names() -> list[str]:
    """Return the names of the recipes that the package ships, sorted."""
    return sorted(path.stem for path in FOLDER.glob("[a-z]*.yaml"))


def text_digest(name: str) -> str:
    """Return a checksum of a shipped recipe's YAML file and of those that it is based on; another text has another."""
    digest = sha256()
    base: str | None = name
    while base is not None:
        text = (FOLDER / f"{base}.yaml").read_bytes()
        digest.update(text)
        named = _BASE.search(text)
        base = named.group(1).decode() if named else None
    return digest.hexdigest()[:16]

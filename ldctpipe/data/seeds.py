"""One seed, expanded by purpose, so that no two kinds of randomness share a stream."""

from __future__ import annotations

import hashlib


def seed_for(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for a purpose ("weights", "patches", …): SHA-256 over the seed and the purpose's words."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

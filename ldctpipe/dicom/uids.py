"""UIDs that follow from what they name, so that the same job gives the same UIDs."""

from __future__ import annotations

import hashlib

from pydicom.uid import UID

_UUID_BYTES = 16


def uid_of(*parts: str) -> UID:
    """Return `2.25.` + 128 bits of SHA-256 over `parts` (form of PS3.5 §B.2): the same for the same parts."""
    digest = hashlib.sha256("\0".join(parts).encode("utf-8")).digest()
    return UID(f"2.25.{int.from_bytes(digest[:_UUID_BYTES], 'big')}")


IMPLEMENTATION_CLASS_UID = uid_of("ldctpipe implementation class")

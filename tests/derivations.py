"""A derivation for tests that write derived images."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone

from ldctpipe.dicom.derivation import Derivation

WEIGHTS = hashlib.sha256(b"weights").hexdigest()
RUN_TIME = datetime(2026, 5, 4, 12, 30, 1, tzinfo=timezone.utc)


def derivation(**changes: object) -> Derivation:
    """Return a derivation by a model, with `changes` to its fields."""
    fields: dict = {
        "description": "Noise reduction with model mini 0.1",
        "code_value": "NOISERED",
        "code_meaning": "Noise reduction",
        "series_suffix": "ldctpipe mini",
        "equipment_model": "mini",
        "software_version": "0.1.0",
        "weights_sha256": WEIGHTS,
        "settings": "blend=0.7",
        "run_time": RUN_TIME,
    }
    return Derivation(**{**fields, **changes})

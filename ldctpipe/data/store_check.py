"""Whether the arrays of a training store are still what was written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ldctpipe.data.store import NOISE, PAIRS, open_store
from ldctpipe.errors import InputError
from ldctpipe.progress import Progress


def altered_arrays(folder: Path) -> dict[str, bool]:
    """Return by file name whether an array of the store in `folder` differs from the checksums in `store.json`.

    Raises `InputError` where the store isn't whole, or has no checksums.
    """
    store = open_store(folder)
    arrays = {name: rows for name, rows in ((PAIRS, store.pairs), (NOISE, store.noise)) if rows is not None}
    checksums = store.description.get("checksums")
    if not isinstance(checksums, dict):
        raise InputError(folder, "has no checksums", "run `ldctpipe prepare` again")
    patients = store.slices["patient"].to_numpy()
    altered = dict.fromkeys(arrays, False)
    progress = Progress("verify", len(patients) * len(arrays), "slices")
    for patient, expected in checksums.items():
        rows = np.flatnonzero(patients == patient)
        for name, array in arrays.items():
            altered[name] |= _sha256(array, rows, progress) != expected.get(name)
    progress.finish()
    return altered


def _sha256(array: npt.NDArray[np.int16], rows: npt.NDArray[np.int64], progress: Progress) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(np.ascontiguousarray(array[row]).data)
        progress.advance()
    return digest.hexdigest()

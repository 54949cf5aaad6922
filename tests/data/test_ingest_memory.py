"""How much memory ingesting takes beside the int16 volume, counted by allocations."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from small_dicom import SERIES_UID, ct_dataset

from ldctpipe.data.ingestion import ingest

SLICES, SIDE = 60, 384
VOLUME_BYTES = SLICES * SIDE * SIDE * 2
PADDING = -2000


def write_padded_series(folder: Path, uid: str, **attributes: object) -> np.ndarray:
    """Write a series with padding around a disc, and return its stored values."""
    random = np.random.default_rng(0)
    rows, columns = np.indices((SIDE, SIDE))
    radius = np.hypot(rows - SIDE / 2, columns - SIDE / 2)
    stored = np.where(radius < SIDE / 3, 40, -1000) + random.integers(-20, 20, (SIDE, SIDE))
    stored = np.where(radius > SIDE / 2, PADDING, stored).astype(np.int16)
    image = ct_dataset(stored, SeriesInstanceUID=uid, PixelPaddingValue=PADDING, RescaleIntercept=0, **attributes)
    folder.mkdir(parents=True)
    for index in range(SLICES):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{index + 1}"
        image.InstanceNumber, image.ImagePositionPatient = index + 1, [0, 0, 3 * index]
        image.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    return stored


@pytest.mark.parametrize(
    ("attributes", "limit"),
    [({}, 1.2), ({"RescaleSlope": 0.75}, 2.3)],  # HU that are no whole numbers are read as float32 first
    ids=["whole HU", "fractional HU"],
)
def test_it_holds_the_volume_of_one_series_and_little_else(
    tmp_path: Path, attributes: dict[str, object], limit: float
) -> None:
    for number in range(2):  # the second series is read when nothing of the first is held any more
        stored = write_padded_series(tmp_path / "in" / str(number), f"{SERIES_UID}.{number + 7}", **attributes)
    ingest(tmp_path / "in" / "0", tmp_path / "warm", threads=1)
    tracemalloc.start()
    try:
        done = ingest(tmp_path / "in", tmp_path / "cases", threads=1)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < limit * VOLUME_BYTES
    assert len(done.cases) == 2
    hu = np.asarray(nibabel.load(tmp_path / "cases" / done.cases[0] / "volume.nii").dataobj).transpose(2, 1, 0)
    measured = stored != PADDING
    expected = np.rint(stored * float(attributes.get("RescaleSlope", 1)))  # type: ignore[arg-type]
    assert all((one[measured] == expected[measured]).all() for one in hu)

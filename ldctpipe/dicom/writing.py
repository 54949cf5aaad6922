"""A changed volume to a derived DICOM series beside its source."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from ldctpipe import __version__
from ldctpipe.dicom.decoding import Image, Words, decode
from ldctpipe.dicom.derivation import Derivation, mark_as_derived
from ldctpipe.dicom.reading import source_hu
from ldctpipe.dicom.series import Series, Slice
from ldctpipe.dicom.uids import IMPLEMENTATION_CLASS_UID

_NAME_DIGITS = 8

__all__ = ["Derivation", "derived_names", "write_derived_series"]


def derived_names(series: Series) -> list[str]:
    """Return the file names of a series derived from `series`, in slice order: `<key8>-<nnnn>.dcm`."""
    return [f"{series.key[:_NAME_DIGITS]}-{number:04d}.dcm" for number in range(1, len(series.slices) + 1)]


def write_derived_series(
    series: Series,
    hu: npt.NDArray[np.generic],
    folder: Path,
    derivation: Derivation,
    *,
    keep_private: bool = False,
    threads: int | None = None,
) -> list[Path]:
    """Write `hu` as a series derived from `series` into the existing `folder` and return the files in slice order.

    `hu` has shape (slices, rows, columns), is in HU, in the order of `series.slices`. Each file is its source with
    new UIDs, provenance and pixels (uncompressed, Explicit VR Little Endian). HU become stored values by the source
    slice's own slope and intercept, rounded and clipped to what its bits hold. Where `hu` equals the source's HU, and
    in padding, the stored words are the source's own, to the bit. Raises `InputError` when a source file can't be read
    any more.
    """
    shape = (len(series.slices), series.rows, series.columns)
    if hu.shape != shape:
        raise ValueError(f"hu has shape {hu.shape}, wanted {shape}")
    paths = [folder / name for name in derived_names(series)]
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        tasks = [
            pool.submit(_write_slice, series, place, slice_hu, path, derivation, keep_private)
            for place, slice_hu, path in zip(series.slices, hu, paths, strict=True)
        ]
        for task in tasks:
            task.result()
    return paths


def _write_slice(
    series: Series, place: Slice, hu: npt.NDArray[np.generic], path: Path, derivation: Derivation, keep_private: bool
) -> None:
    image = decode(place.path)
    words = stored_words(image, place, hu)
    dataset = image.dataset
    mark_as_derived(dataset, series, derivation, keep_private=keep_private)
    dataset["PixelData"] = pydicom.DataElement(0x7FE00010, "OW", words.astype("<u2").tobytes())
    _state_extremes(image, words)
    dataset.file_meta = _file_meta(dataset)
    dataset.preamble = b"\0" * 128
    pydicom.dcmwrite(path, dataset, enforce_file_format=True, implicit_vr=False, little_endian=True)


def stored_words(image: Image, place: Slice, hu: npt.NDArray[np.generic]) -> Words:
    """Return the words that store `hu` in the format of `image`: its own where the HU are its own, and in padding."""
    wanted = hu.astype(np.float64)
    changed = (hu.astype(np.float32) != source_hu(image, place)) & ~image.padding
    if not np.isfinite(wanted[changed]).all():
        raise ValueError("HU to write are not finite")
    pixel_format = image.pixel_format
    values = np.rint((wanted - place.intercept) / place.slope).clip(pixel_format.lowest, pixel_format.highest)
    new = pixel_format.words(np.where(changed, values, 0).astype(np.int32), image.words)
    return np.where(changed, new, image.words)


def _state_extremes(image: Image, words: Words) -> None:
    """Recompute the smallest and largest pixel value where the source had them."""
    values = image.pixel_format.values(words)
    representation = "SS" if image.pixel_format.is_signed else "US"
    extremes = {"SmallestImagePixelValue": int(values.min()), "LargestImagePixelValue": int(values.max())}
    for keyword, value in extremes.items():
        if keyword in image.dataset:
            tag = image.dataset[keyword].tag
            image.dataset[tag] = pydicom.DataElement(tag, representation, value)


def _file_meta(dataset: pydicom.Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = f"LDCTPIPE {__version__}"[:16]
    return meta

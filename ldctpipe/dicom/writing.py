"""A changed volume to a derived DICOM series beside its source."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from ldctpipe import __version__
from ldctpipe.devices import usable_cores
from ldctpipe.dicom.byte_order import turn_words_around
from ldctpipe.dicom.compression import Compression
from ldctpipe.dicom.decoding import Image, decode
from ldctpipe.dicom.deidentification import Deidentifier
from ldctpipe.dicom.derivation import Derivation, mark_as_derived
from ldctpipe.dicom.encapsulation import encapsulated, transfer_syntax_of
from ldctpipe.dicom.lossiness import state_lossy_source
from ldctpipe.dicom.pixels import PixelFormat, Words
from ldctpipe.dicom.reading import source_hu
from ldctpipe.dicom.series import Series, Slice
from ldctpipe.dicom.uids import IMPLEMENTATION_CLASS_UID
from ldctpipe.errors import InputError
from ldctpipe.progress import warn

_NAME_DIGITS = 8
_PIXEL_DATA = 0x7FE00010

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
    compression: Compression = Compression.NONE,
    deidentifier: Deidentifier | None = None,
    threads: int | None = None,
) -> list[Path]:
    """Write `hu` as a series derived from `series` into the existing `folder` and return the files in slice order.

    `hu` has shape (slices, rows, columns), is in HU, in the order of `series.slices`. Each file is its source with
    new UIDs, provenance and pixels. HU become stored values by the source slice's own slope and intercept, rounded and
    clipped to what its bits hold. Where `hu` equals the source's HU, and in padding, the stored words are the source's
    own, to the bit. An image that `compression` can't give back unchanged is written uncompressed, with a warning.

    With a `deidentifier`, `series` is still the source itself; files are named and made as if the de-identified series
    were the source: no private attributes (`keep_private` is a `ValueError`), no overlays, no bits outside BitsStored,
    no time of the run, which beside dates that moved tells by how many days they did. Raises `InputError` when a source
    file can't be read any more or can't be de-identified, or `hu` has values to write that are no numbers.
    """
    if keep_private and deidentifier:
        raise ValueError("private attributes can't be kept in de-identified images")
    shape = (len(series.slices), series.rows, series.columns)
    if hu.shape != shape:
        raise ValueError(f"hu has shape {hu.shape}, wanted {shape}")
    named = deidentifier.series(series) if deidentifier else series
    told = replace(derivation, run_time=None) if deidentifier else derivation
    job = _Job(named, told, keep_private, compression, deidentifier)
    paths = [folder / name for name in derived_names(named)]
    plain = _write_slices(job, series.slices, hu, paths, threads).count(ExplicitVRLittleEndian)
    if plain and compression is not Compression.NONE:
        warn(
            f"series {named.key}: {plain} of {len(paths)} images stay uncompressed, {compression.value} would lose bits"
        )
    return paths


@dataclass(frozen=True)
class _Job:
    """What is the same for all slices of a series."""

    series: Series
    derivation: Derivation
    keep_private: bool
    compression: Compression
    deidentifier: Deidentifier | None


def _write_slices(
    job: _Job, places: Sequence[Slice], hu: npt.NDArray[np.generic], paths: Sequence[Path], threads: int | None
) -> list[UID]:
    """Write all images and return the transfer syntax of each; a fault or signal ends it with those under way."""
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        try:
            return list(pool.map(_write_slice, repeat(job), places, hu, paths))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_slice(job: _Job, place: Slice, hu: npt.NDArray[np.generic], path: Path) -> UID:
    """Write one image and return the transfer syntax that it got."""
    image = decode(place.path)
    words = _words_to_write(job, image, place, hu)
    dataset = image.dataset
    if place.pixels.transfer_syntax_uid == ExplicitVRBigEndian:
        turn_words_around(dataset)
    state_lossy_source(dataset)
    if job.deidentifier:
        job.deidentifier.apply(dataset)
        words = without_overlay_bits(image, place, words)
    mark_as_derived(dataset, job.series, job.derivation, keep_private=job.keep_private)
    _state_extremes(image, words)
    syntax = _put_pixels(dataset, words, image.pixel_format, job.compression)
    dataset.file_meta = _file_meta(dataset, syntax)
    dataset.preamble = b"\0" * 128
    pydicom.dcmwrite(path, dataset, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return syntax


def _words_to_write(job: _Job, image: Image, place: Slice, hu: npt.NDArray[np.generic]) -> Words:
    try:
        return stored_words(image, place, hu)
    except _NotFinite:
        fault = "the model gave values that are no numbers"
        raise InputError(f"series {job.series.key}", fault, "leave this series out or use another model") from None


class _NotFinite(ValueError):
    pass


def _put_pixels(dataset: pydicom.Dataset, words: Words, pixel_format: PixelFormat, compression: Compression) -> UID:
    syntax = transfer_syntax_of(compression)
    packed = encapsulated(words, pixel_format, compression) if syntax.is_encapsulated else None
    if packed is None:
        dataset["PixelData"] = pydicom.DataElement(_PIXEL_DATA, "OW", words.astype("<u2").tobytes())
        return ExplicitVRLittleEndian if syntax.is_encapsulated else syntax
    dataset["PixelData"] = pydicom.DataElement(_PIXEL_DATA, "OB", packed)
    dataset["PixelData"].is_undefined_length = True
    return syntax


def stored_words(image: Image, place: Slice, hu: npt.NDArray[np.generic]) -> Words:
    """Return the words that store `hu` in the format of `image`: its own where the HU are its own, and in padding."""
    wanted = hu.astype(np.float64)
    changed = (hu.astype(np.float32) != source_hu(image, place)) & ~image.padding
    if not np.isfinite(wanted[changed]).all():
        raise _NotFinite
    pixel_format = image.pixel_format
    values = np.rint((wanted - place.intercept) / place.slope).clip(pixel_format.lowest, pixel_format.highest)
    new = pixel_format.words(np.where(changed, values, 0).astype(np.int32), image.words)
    return np.where(changed, new, image.words)


def without_overlay_bits(image: Image, place: Slice, words: Words) -> Words:
    """Return `words` with nothing outside BitsStored, where burnt-in text can hide as an overlay (PS3.5 §8.1.2).

    A declared padding value that needs more than BitsStored bits stays as it is, the same word for all its pixels.
    """
    pixel_format = image.pixel_format
    values = pixel_format.values(words)
    clean = pixel_format.words(values, np.zeros_like(words))
    for declared in place.pixels.padding or ():
        whole = np.array([declared & 0xFFFF], dtype=np.uint16)
        clean = np.where(image.padding & (values == pixel_format.values(whole)), whole, clean)
    return clean


def _state_extremes(image: Image, words: Words) -> None:
    """Recompute the smallest and largest pixel value where the source had them."""
    values = image.pixel_format.values(words)
    representation = "SS" if image.pixel_format.is_signed else "US"
    extremes = {"SmallestImagePixelValue": int(values.min()), "LargestImagePixelValue": int(values.max())}
    for keyword, value in extremes.items():
        if keyword in image.dataset:
            tag = image.dataset[keyword].tag
            image.dataset[tag] = pydicom.DataElement(tag, representation, value)


def _file_meta(dataset: pydicom.Dataset, syntax: UID) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = f"LDCTPIPE {__version__}"[:16]
    return meta

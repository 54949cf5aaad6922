"""What the header of a series says about earlier processing and reconstruction, beyond what reading needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from ldctpipe.errors import InputError

DOSE_REDUCTION_CODE = "DOSERED"

_TEXT = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UT"})
_ABOUT_RECONSTRUCTION = (
    "ConvolutionKernel",
    "ReconstructionAlgorithm",
    "ProtocolName",
    "SeriesDescription",
    "FilterType",
    "ImageComments",
)
_LONGEST_TEXT = 256


@dataclass(frozen=True)
class SourceHeader:
    """`derivations` are code values of earlier derivations; `reconstruction` is text that may name the method."""

    derivations: frozenset[str]
    reconstruction: str

    @property
    def refusal(self) -> str | None:
        """Why no lower dose can be simulated from the series, as a clause, or None where it can."""
        if DOSE_REDUCTION_CODE in self.derivations:
            return "is a simulated lower dose already"
        if "NOISERED" in self.derivations:
            return "was denoised, so its noise tells no dose"
        return None


def read_source_header(path: Path) -> SourceHeader:
    """Return what the header of one image of a series says; pixels are not read.

    Vendors name iterative and learned reconstruction in private elements, each model in its own, so all short texts
    of private elements count. Raises `InputError` where the file can't be read any more.
    """
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except (OSError, InvalidDicomError) as error:
        raise InputError(path, f"can't be read ({error})", "copy it again") from None
    return SourceHeader(frozenset(_derivation_codes(dataset)), " | ".join(_reconstruction_texts(dataset)))


def _derivation_codes(dataset: Dataset) -> Iterator[str]:
    for item in dataset.get("DerivationCodeSequence") or ():
        yield str(item.get("CodeValue", ""))


def _reconstruction_texts(dataset: Dataset) -> Iterator[str]:
    for keyword in _ABOUT_RECONSTRUCTION:
        if value := dataset.get(keyword):
            yield str(value)
    private = [tag for tag in list(dataset.keys()) if tag.is_private and not tag.is_private_creator]
    for tag in private:
        yield from _short_text(dataset, tag)


def _short_text(dataset: Dataset, tag: pydicom.tag.BaseTag) -> Iterator[str]:
    try:
        element = dataset[tag]
    except Exception:  # noqa: BLE001 - foreign private elements break pydicom's parsers in any way there is
        return
    value = element.value
    if element.VR in _TEXT and isinstance(value, (str, bytes)) and 0 < len(value) <= _LONGEST_TEXT:
        yield value.decode("latin-1") if isinstance(value, bytes) else value

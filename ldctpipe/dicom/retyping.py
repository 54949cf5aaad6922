"""Attributes whose VR in the file is not the standard's, as careless and damaged files have them."""

from __future__ import annotations

from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

_PIXEL_DATA = 0x7FE00010
_INTEGERS = {"SL", "SS", "SV", "UL", "US", "UV"}
_NUMBERS = {*_INTEGERS, "FD", "FL"}
_TEXTS = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}


def mend_types(dataset: Dataset) -> None:
    """Give every standard attribute of `dataset`, in place, the VR that PS3.6 has for it; its value stays.

    Headers are read whatever VR their values have, so images with wrong ones get as far as being written, and what is
    written must be right. A value that the right VR can't hold is dropped. Items of sequences stay as they are.
    """
    for tag in list(dataset.keys()):
        if tag == _PIXEL_DATA or not dictionary_has_tag(tag):
            continue
        right = dictionary_VR(tag).split(" or ")
        element = dataset.get_item(tag)
        if element is not None and element.VR not in (None, "UN", *right):
            _mend(dataset, tag, element, right[0])


def _mend(dataset: Dataset, tag: BaseTag, element: DataElement | RawDataElement, right: str) -> None:
    if isinstance(element, RawDataElement) and right in _TEXTS and element.VR not in _NUMBERS:
        dataset[tag] = element._replace(VR=right)  # the same bytes
        return
    try:
        dataset[tag] = DataElement(tag, right, _converted(dataset[tag].value, right))
    except Exception:  # noqa: BLE001 - a parser of foreign bytes fails in any way there is
        del dataset[tag]


def _converted(value: Any, right: str) -> Any:
    if right not in _INTEGERS:
        return value
    return [int(one) for one in value] if isinstance(value, MultiValue) else int(value)

"""Values that pydicom keeps as bytes, from big-endian files to how a little-endian file holds them."""

from __future__ import annotations

import numpy as np
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

_PIXEL_DATA = 0x7FE00010
_WORD_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}  # PS3.5 §7.3; OB has no byte order


def turn_words_around(dataset: Dataset) -> None:
    """Turn the words of a dataset from a big-endian file around, in place and to every depth; pixel data stay.

    pydicom converts numbers, but writes words of overlays, curves and lookup tables as it read them (PS3.5 §7.3).
    Attributes of unknown type are dropped: nobody can tell where their words begin. So are cut words.
    """
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if element is None or tag == _PIXEL_DATA:
            continue
        if element.VR == "UN":
            del dataset[tag]
        elif element.VR in _WORD_BYTES:
            _turn_around(dataset, tag, element)
        elif element.VR == "SQ":
            _turn_items_around(dataset, tag)


def _turn_around(dataset: Dataset, tag: BaseTag, element: DataElement | RawDataElement) -> None:
    vr, content = str(element.VR), bytes(element.value or b"")
    width = _WORD_BYTES[vr]
    if len(content) % width:
        del dataset[tag]
    else:
        dataset[tag] = DataElement(tag, vr, np.frombuffer(content, f">u{width}").astype(f"<u{width}").tobytes())


def _turn_items_around(dataset: Dataset, tag: BaseTag) -> None:
    try:
        items = list(dataset[tag].value)
    except Exception:  # noqa: BLE001 - a parser of foreign bytes fails in any way there is
        del dataset[tag]
        return
    for item in items:
        turn_words_around(item)

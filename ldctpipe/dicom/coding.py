"""Codes with their meaning, as DICOM puts them into sequences."""

from __future__ import annotations

from pydicom.dataset import Dataset

DCM = "DCM"  # the standard's own codes (PS3.16 annex D)


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """Return the item of a code sequence (PS3.3 §8.8) for the code `value` of `scheme`."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item

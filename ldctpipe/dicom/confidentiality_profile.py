"""PS3.15 annex E, Basic Application Level Confidentiality Profile, on one CT image's attributes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import cache

from dicomanonymizer import simpledicomanonymizer as library
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID_dictionary

_TABLE = "dicomfields_2026c"
_CURVES, _OVERLAYS, _REPEATING_GROUPS = 0x5000, 0x6000, 0xFF00
# The two temporal attributes of a patient that the option with modified dates leaves to the profile itself.
_OF_BIRTH = {Tag("PatientBirthDate"), Tag("PatientBirthTime")}
_TEMPORAL = ("DA", "DT", "TM")
_OF_REFERENCES = {Tag("ReferencedSOPClassUID"), Tag("ReferencedSOPInstanceUID"), Tag("ReferencedFrameNumber")}
_DATE = re.compile(r"(\d{4})(\.?)(\d{2})\2(\d{2})")
_DATE_TIME = re.compile(r"(\d{8})((?:\d{2}){0,3}(?:\.\d{1,6})?(?:[+-]\d{4})?)")
_TIME = re.compile(r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?")

Action = Callable[[Dataset, BaseTag], None]


def apply_profile(dataset: Dataset, new_uid: Callable[[str], str], shift_days: int) -> None:
    """Apply the profile to `dataset`, in place and to every depth of its sequences; pixel data stay.

    Each attribute gets the action of table E.1-1 (edition 2026c). UIDs become `new_uid(uid)`, except those that
    PS3.6 defines. Dates move by `shift_days` and times stay (option 113107, retain longitudinal temporal information
    with modified dates, §E.3.6); the value of one that can't be parsed is dropped. Sequences for which the table asks
    removal, emptying or dummies are removed: none is required in a CT image. Private attributes, curves, overlays, and
    whatever can't be parsed or isn't in the data dictionary, so that nobody can tell what it holds, are removed too.
    """
    for tag in list(dataset.keys()):
        element = _readable(dataset, tag)
        if element is None or _is_unknowable(element) or _is_drawing(element.tag):
            del dataset[tag]
        elif element.VR == "SQ":
            _treat_sequence(dataset, element, new_uid, shift_days)
        elif dictionary_VR(tag) == "UI":
            _replace_uids(element, new_uid)
        elif dictionary_VR(tag) in _TEMPORAL and tag not in _OF_BIRTH:
            _treat_values(element, shift_days)
        else:
            _act(dataset, element)


def shifted_date(value: str, days: int) -> str | None:
    """Return a DA or DT value (PS3.5 §6.2) moved by whole days, or None for one without a day or in another form."""
    text = value.strip("\0 ")
    found = _DATE.fullmatch(text)
    day, rest = ("".join(found.group(1, 3, 4)), "") if found else ("", "")
    if not found and (with_time := _DATE_TIME.fullmatch(text)):
        day, rest = with_time.groups()
    try:
        moved = date(int(day[:4]), int(day[4:6]), int(day[6:])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}{rest}"


@cache
def _actions() -> Mapping[BaseTag, Action]:
    """The library's function for each attribute of the table; its tags with a mask are curves and overlays."""
    table = library.initialize_actions(_TABLE)
    return {Tag(*tag): action for tag, action in table.items() if len(tag) == 2}


def _readable(dataset: Dataset, tag: BaseTag) -> DataElement | None:
    try:
        element = dataset[tag]
        str(element.value)  # multiple values are converted when they are asked for
    except Exception:  # noqa: BLE001 - a parser of foreign bytes fails in any way there is
        return None
    return element


def _is_unknowable(element: DataElement) -> bool:
    return element.tag.is_private or element.VR == "UN" or not dictionary_has_tag(element.tag)


def _is_drawing(tag: BaseTag) -> bool:
    return tag.group & _REPEATING_GROUPS in (_CURVES, _OVERLAYS)


def _treat_sequence(dataset: Dataset, element: DataElement, new_uid: Callable[[str], str], shift_days: int) -> None:
    action = _actions().get(element.tag)
    if action not in (None, library.delete_or_empty_or_replace_UID):
        del dataset[element.tag]
        return
    for item in element.value:
        if action:
            _keep_reference_only(item)
        apply_profile(item, new_uid, shift_days)


def _keep_reference_only(item: Dataset) -> None:
    """Action U* asks for the replacement of the UIDs that a sequence of references holds; the rest of it goes."""
    for tag in list(item.keys()):
        if tag not in _OF_REFERENCES:
            del item[tag]


def _replace_uids(element: DataElement, new_uid: Callable[[str], str]) -> None:
    """Replace more UIDs than the table names: any of them can tell which site or scanner made it."""
    # Not by the library's own action, which keeps random UIDs in a dictionary of the whole process.
    replaced = [_replaced_uid(str(value), new_uid) for value in _values(element)]
    element.value = replaced if len(replaced) > 1 else "".join(replaced)


def _replaced_uid(value: str, new_uid: Callable[[str], str]) -> str:
    uid = value.strip("\0 ")
    return uid if not uid or uid in UID_dictionary else new_uid(uid)


def _treat_values(element: DataElement, shift_days: int) -> None:
    """Move dates and check times; an attribute with a value in no known form loses all its values."""
    texts = [str(value) for value in _values(element)]
    if dictionary_VR(element.tag) == "TM":
        treated = [text if _TIME.fullmatch(text.strip("\0 ")) else None for text in texts]
    else:
        treated = [shifted_date(text, shift_days) for text in texts]
    known = [text for text in treated if text is not None]
    element.value = "" if len(known) < len(texts) else known if len(known) > 1 else "".join(known)


def _values(element: DataElement) -> list[object]:
    value = element.value
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)


def _act(dataset: Dataset, element: DataElement) -> None:
    action = _actions().get(element.tag)
    if action is None:
        return
    if action is library.delete:  # its own action gives dates a dummy instead
        del dataset[element.tag]
    elif element.tag in _OF_BIRTH:
        element.value = ""
    else:
        try:
            action(dataset, element.tag)
        except (NotImplementedError, ValueError, TypeError):  # a type that the library has no dummy for
            del dataset[element.tag]

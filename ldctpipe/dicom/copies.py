"""Images that have their UID in common: copies of a slice, and what careless copying made of one."""

from __future__ import annotations

import filecmp
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from ldctpipe.dicom.decoding import read_words
from ldctpipe.dicom.geometry import at_same_position
from ldctpipe.dicom.headers import Header
from ldctpipe.dicom.kinds import same_kind
from ldctpipe.dicom.pixels import Words
from ldctpipe.dicom.rejection import COPY, SAME_UID, SAME_UID_OTHER_PIXELS, Rejection
from ldctpipe.errors import InputError


def with_own_uids(headers: Sequence[Header]) -> tuple[list[Header], list[tuple[Header, Rejection]]]:
    """Return the images with a UID of their own, and the others: copies, and those that differ from their namesake.

    The latter can't be used beside it: what is derived from the two would have one UID again. Which of two images with
    the same UID and place is right nobody knows, so pixels are compared; they are read for this alone.
    """
    first: dict[str, Header] = {}
    others = [header for header in headers if first.setdefault(header.sop_uid, header) is not header]
    return list(first.values()), [(header, _verdict(first[header.sop_uid], header)) for header in others]


def without_copies(headers: Sequence[Header]) -> list[Header]:
    """Return `headers` of one kind without those that hold the pixels of another one at the same position.

    Sent again under a new UID, an image is the same image; only pixels show it, and they are read for this alone.
    """
    kept: list[Header] = []
    for header in sorted(headers, key=lambda header: (header.position_mm, header.sop_uid, str(header.path))):
        if not any(_same_pixels(one, header) for one in _at_place_of(header, kept)):
            kept.append(header)
    return kept


def _at_place_of(header: Header, before: Sequence[Header]) -> Iterator[Header]:
    return itertools.takewhile(lambda one: at_same_position(one.position_mm, header.position_mm), reversed(before))


def _verdict(first: Header, second: Header) -> Rejection:
    if not (same_kind(first, second) and at_same_position(first.position_mm, second.position_mm)):
        return SAME_UID
    return COPY if _same_pixels(first, second) else SAME_UID_OTHER_PIXELS


def _same_pixels(first: Header, second: Header) -> bool:
    try:
        if filecmp.cmp(first.path, second.path, shallow=False):
            return True
        return _meaning(first) == _meaning(second) and np.array_equal(_words(first), _words(second))
    except (OSError, InputError):  # it can't be told, and reading the first one will say why
        return False


def _meaning(header: Header) -> tuple[object, ...]:
    return header.slope, header.intercept, header.pixels.pixel_format


def _words(header: Header) -> Words:
    words = np.empty((header.rows, header.columns), dtype=np.uint16)
    read_words(header.path, header.pixels, words)
    return words

"""Where the images of a group lie, in numbers: places, times, and how well a division of them into scans holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.geometry import SAME_POSITION_MM
from ldctpipe.dicom.headers import Header

Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int_]

_SAME_PLACE_OF_THICKNESS = 0.05  # no scanner reconstructs so densely; phases of one scan are off by less
_LARGEST_SAME_PLACE_MM = 0.2
_DAY_S = 86400.0
_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d(?:\.\d*)?))?)?")  # PS3.5 §6.2, VR TM; with colons in old files


@dataclass(frozen=True, eq=False)
class Stack:
    """A group of images as arrays with one value per image; `codes` given to its methods say which part each is in.

    `places` are the numbers of the distinct positions, ascending. Times are in seconds and not a number where unknown.
    """

    headers: Sequence[Header]
    positions_mm: Values
    places: Codes
    tolerance_mm: float

    @cached_property
    def acquired_s(self) -> Values:
        """When each image was acquired."""
        return _seconds([(header.acquisition_date, header.acquisition_time) for header in self.headers])

    @cached_property
    def content_s(self) -> Values:
        """When each image's content was made, as ContentTime says."""
        return _seconds([(header.content_date, header.content_time) for header in self.headers])

    @cached_property
    def instances(self) -> Values:
        """InstanceNumber of each image."""
        numbers = [header.instance_number for header in self.headers]
        return np.array([np.nan if number is None else float(number) for number in numbers])

    @cached_property
    def informative_orders(self) -> tuple[Values, ...]:
        """What the order of acquisition may be told from, best first: what all images have and not all have alike.

        An InstanceNumber that is given twice started anew somewhere, and tells nothing of one scan.
        """
        is_unique = len(np.unique(self.instances)) == len(self.instances)
        orders = (self.acquired_s, self.content_s, *([self.instances] if is_unique else []))
        return tuple(order for order in orders if not np.isnan(order).any() and order.min() < order.max())

    @cached_property
    def images_at_each_place(self) -> Codes:
        """How many images lie at each place."""
        return np.bincount(self.places)

    @property
    def most_at_a_place(self) -> int:
        """How many images lie at the place that has most."""
        return int(self.images_at_each_place.max())

    def doubles(self, codes: Codes | None = None) -> int:
        """Return how many images lie where another one of their part lies already."""
        parts = np.zeros_like(self.places) if codes is None else codes
        return len(self.places) - len(np.unique(parts * (int(self.places.max()) + 1) + self.places))

    def parts(self, codes: Codes) -> list[Codes]:
        """Return the indices of the images of each part, in ascending position."""
        order = np.lexsort((self.positions_mm, codes))
        return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)

    def steps_mm(self, part: Codes) -> Values:
        """Return the distances between the places of a part, whose images are given in ascending position."""
        is_first = np.concatenate([[True], np.diff(self.places[part]) > 0])
        return np.diff(self.positions_mm[part[is_first]])

    def groups(self, codes: Codes) -> list[list[Header]]:
        """Return the images of each part."""
        return [[self.headers[index] for index in part] for part in self.parts(codes)]

    def skipped_places(self, codes: Codes) -> int:
        """Return how many places, summed over parts, lie between slices of a part that has no image there."""
        parts = self.parts(codes)
        return sum(int(self.places[part[-1]] - self.places[part[0]]) + 1 - len(part) for part in parts)

    def largest_sweeps(self, codes: Codes, orders: Sequence[Values]) -> float:
        """Return how often at most one of `orders` runs to and fro along a part; one scan passes once."""
        return max((sweeps(order[part]) for part in self.parts(codes) for order in orders), default=0.0)


def stack_of(headers: Sequence[Header]) -> Stack:
    """Return the arrays of `headers`, which are in any order but the same one whenever the images are."""
    positions_mm = np.array([header.position_mm for header in headers])
    thickness_mm = [mm for header in headers if (mm := header.acquisition.slice_thickness_mm) and mm > 0]
    widest_mm = _SAME_PLACE_OF_THICKNESS * min(thickness_mm, default=0.0)
    tolerance_mm = min(max(SAME_POSITION_MM, widest_mm), _LARGEST_SAME_PLACE_MM)
    order = np.argsort(positions_mm, kind="stable")
    places = np.empty(len(headers), dtype=np.int_)
    places[order] = np.concatenate([[0], np.cumsum(np.diff(positions_mm[order]) >= tolerance_mm)])
    return Stack(headers, positions_mm, places, tolerance_mm)


def sweeps(values: Values) -> float:
    """Return the way that `values` go to and fro over the distance between their ends; 1 where they only rise or fall.

    0 where they say nothing: unknown ones among them, or all alike.
    """
    if len(values) < 2 or np.isnan(values).any():
        return 0.0
    span = float(values.max() - values.min())
    return float(np.abs(np.diff(values)).sum()) / span if span > 0 else 0.0


def _seconds(moments: Sequence[tuple[str, str]]) -> Values:
    """Seconds of (date, time); without dates, what lies half a day before the rest is after midnight."""
    days = np.array([_day(day) for day, _ in moments])
    times = np.array([_time_of_day(time) for _, time in moments])
    if not np.isnan(days).any():
        times += (days - days.min()) * _DAY_S
    elif not np.isnan(times).all() and np.nanmax(times) - np.nanmin(times) > _DAY_S / 2:
        times[times < _DAY_S / 2] += _DAY_S
    return times


def _day(text: str) -> float:
    digits = text.replace(".", "").replace("-", "")
    try:
        return float(date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])).toordinal())
    except ValueError:
        return np.nan


def _time_of_day(text: str) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        return np.nan
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds

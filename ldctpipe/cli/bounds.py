"""Bounds for the numbers of all options: finite, and within what any machine can use.

The ranges of the command-line library accept NaN, and integers of any length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from typing import Any

import typer

_LARGEST_FLOAT = 1e12
_LARGEST_WHOLE = 10**6
_LARGEST_BY_NAME = {
    "seed": 2**63 - 1, "iterations": 10**12, "checkpoint_every": 10**12, "task_slices": 10**9, "threads": 4096,
    "devices": 4096, "nodes": 4096, "repeats": 10_000,
}  # fmt: skip
_LONGEST_TEXT = 400
_KINDS = ("int", "integer", "float")  # the first word of a type's name, ranges included


def bound_numbers(command: Any) -> None:
    """Make every numeric option of a command and its subcommands refuse NaN, infinity and absurd numbers."""
    for parameter in _parameters(command):
        if parameter.type.name.split()[0] in _KINDS:
            parameter.type = _bounded(parameter.type)


def _parameters(command: Any) -> Iterator[Any]:
    yield from command.params
    for below in getattr(command, "commands", {}).values():
        yield from _parameters(below)


def _bounded(kind: Any) -> Any:
    bounded = copy(kind)  # one type serves many options

    def convert(value: Any, parameter: Any, context: Any) -> Any:
        if isinstance(value, str) and len(value) > _LONGEST_TEXT:
            raise typer.BadParameter(f"a number of {len(value)} characters is too long.", context, parameter)
        number = kind.convert(value, parameter, context)
        if not math.isfinite(number):
            raise typer.BadParameter(f"{number} is not a finite number.", context, parameter)
        largest = _LARGEST_FLOAT if isinstance(number, float) else _LARGEST_BY_NAME.get(parameter.name, _LARGEST_WHOLE)
        if abs(number) > largest:
            raise typer.BadParameter(f"{number} is more than the limit of {largest:,}.", context, parameter)
        return number

    bounded.convert = convert
    return bounded

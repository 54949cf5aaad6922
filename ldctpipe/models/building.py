"""Networks built from options in a file: checked on torch's "meta" device before memory is allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

LARGEST_OPTION = 1 << 16  # channels, blocks, sides; the largest of a published network is 1,024
_MOST_ELEMENTS = 1 << 31  # parameters of one network: 8 GiB in float32, a hundred times the largest published one
_MOST_PARTS = 100_000  # modules and tensors: a hundred times those of the deepest published one
# What a constructor raises for options that it can't use: torch has no exception type of its own for them.
_UNWORKABLE = (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError, AssertionError, MemoryError)


class UnbuildableError(ValueError):
    """A network can't be built with these options; the text is a clause that says why."""


class _TooLargeError(Exception):
    """A network grew beyond what is plausible while it was built."""


def sketched(build: Callable[[], nn.Module]) -> nn.Module:
    """Return the network that `build` makes, with shapes alone and no memory behind them.

    Draws no random numbers. Raises `UnbuildableError` if it can't be built, or has more parts or parameters than any
    network of the field.
    """
    try:
        # Some networks compute with tensors while they are built, and those have no values here.
        with torch.random.fork_rng(devices=[]), _limited_registration(), torch.device("meta"):
            return build()
    except _TooLargeError:
        fault = f"the network would have more than {_MOST_ELEMENTS:,} parameters or {_MOST_PARTS:,} parts"
        raise UnbuildableError(fault) from None
    except RecursionError:
        raise UnbuildableError("the network would be nested too deeply") from None
    except _UNWORKABLE as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise UnbuildableError(f"no network can be built with these options ({reason})") from None


@contextmanager
def _limited_registration() -> Iterator[None]:
    """Count what modules register, and stop it at the limits: depth and width are options of many names."""
    parts = elements = 0

    def count(_module: nn.Module, _name: str, registered: Any) -> None:
        nonlocal parts, elements
        parts += 1
        elements += registered.numel() if isinstance(registered, Tensor) else 0
        if parts > _MOST_PARTS or elements > _MOST_ELEMENTS:
            raise _TooLargeError

    hooks = [
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_buffer_registration_hook(count),
        registration.register_module_module_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

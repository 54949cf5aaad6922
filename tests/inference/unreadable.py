"""Files and folders that the system can't read for a while, for root as well, to whom permissions mean nothing."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def unreadable(*paths: Path, number: int) -> Iterator[None]:
    """Have every attempt to open one of `paths`, or what lies below it, fail with the error `number`."""
    closed = [str(path) for path in paths]

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(path: Any, *arguments: Any, **options: Any) -> Any:
            name = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
            if any(name == one or name.startswith(f"{one}/") for one in closed):
                raise OSError(number, os.strerror(number), name)
            return real(path, *arguments, **options)

        return attempt

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((os, "open"), (io, "open"), (builtins, "open"), (os, "scandir"), (os, "listdir")):
            patch.setattr(module, name, refusing(getattr(module, name)))
        yield

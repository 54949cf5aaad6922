"""Decoders that do what native decoders of damaged files do; the file's text says which fault it is."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import numpy as np

_memory_is_in_disorder = False


class Panic(BaseException):
    """What a Rust extension raises: no Exception."""


def decode(path: Path) -> np.ndarray:
    """Return words that count up, 3 × 4, or do what the file at `path` says."""
    global _memory_is_in_disorder  # noqa: PLW0603 - the point is what one file does to the next
    order = path.read_text()
    if _memory_is_in_disorder or order == "segfault":
        ctypes.string_at(0)
    if order == "spoil":
        _memory_is_in_disorder = True
    if order == "abort":
        os.abort()
    if order == "exit":
        os._exit(0)
    if order == "hang":
        ctypes.PyDLL(None).sleep(1000)  # keeps Python's lock, as a loop in native code does
    if order == "memory":
        hoard = []
        while True:
            hoard.append(np.ones(1 << 20))
    if order == "panic":
        raise Panic
    if order == "error":
        raise RuntimeError("Doe^Jane")
    if order == "flat":
        return np.zeros(12, np.uint16)
    if order == "print":
        os.write(1, b"Doe^Jane\n" * 10_000)
        os.write(2, b"Doe^Jane\n" * 10_000)
        print("Doe^Jane", file=sys.stderr)
    if order == "modules":
        return np.array([[name in sys.modules for name in ("torch", "scipy", "pandas", "typer", "numpy")]], np.uint16)
    return np.arange(12, dtype=np.uint16).reshape(3, 4)

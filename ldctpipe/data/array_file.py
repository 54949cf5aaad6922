"""An int16 array on disk (`.npy`) whose length is known before: its rows are written in any order, and read back.

It is not memory-mapped: on a full disk that would kill the process.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class ArrayFile:
    """An array of `shape` at `path`; a row is what has one index along the first axis."""

    path: Path
    shape: tuple[int, ...]

    def create(self) -> None:
        """Give the file its header and length; rows that an earlier process wrote stay, others are 0."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o666)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(self._header)
            stream.truncate(self._start(self.shape[0]))

    @contextmanager
    def rows_from(self, first: int) -> Iterator[RowWriter]:
        """Yield what writes rows one after the other from `first`; at the end of the block they are on the disk."""
        with self.path.open("r+b") as stream:
            stream.seek(self._start(first))
            yield RowWriter(stream)
            stream.flush()
            os.fsync(stream.fileno())

    def blocks(self, first: int, count: int) -> Iterator[bytes]:
        """Yield the bytes of `count` rows from `first`, from the disk where the system can be told to."""
        start, end = self._start(first), self._start(first + count)
        with self.path.open("rb", buffering=0) as stream:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(stream.fileno(), start, end - start, os.POSIX_FADV_DONTNEED)
            stream.seek(start)
            while (left := end - stream.tell()) > 0 and (block := stream.read(min(left, _BLOCK_BYTES))):
                yield block

    @cached_property
    def _header(self) -> bytes:
        header = io.BytesIO()
        form = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.int16)), "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(header, form)
        return header.getvalue()

    def _start(self, row: int) -> int:
        return len(self._header) + row * prod(self.shape[1:]) * np.dtype(np.int16).itemsize


class RowWriter:
    """Appends rows to a stream; `sha256` is that of what was written, taken before it went to the disk."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._digest = stream, hashlib.sha256()

    def write(self, row: npt.NDArray[np.int16]) -> None:
        """Append one row, which has to be contiguous."""
        self._digest.update(row.data)
        self._stream.write(row.data)

    @property
    def sha256(self) -> str:
        """64 hexadecimal digits."""
        return self._digest.hexdigest()

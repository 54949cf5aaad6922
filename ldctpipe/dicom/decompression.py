"""Decoding compressed pixels in processes of their own, so that a faulty file costs that file and nothing else.

Decoders are native code that meets bytes from anywhere: they crash, hang, take all memory, or raise what no `except
Exception` catches. Each process decodes one image at a time and is used again; there are never more of them than
threads that read at once. They import numpy, pydicom and one decoder, and end with this process however it ends.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.decoding_worker import OUT_OF_MEMORY, READY, REJECTED, REPLY, REQUEST, WORDS
from ldctpipe.dicom.rejection import Rejected, Rejection
from ldctpipe.volumes.plausibility import LARGEST_ROWS_OR_COLUMNS

_DECODE = "ldctpipe.dicom.compressed_image:stored_words"
_LIMIT_S = 60.0
_LIMIT_MIB = 1024
_START_LIMIT_S = 120.0
_LARGEST_REJECTION_BYTES = 1 << 12
_CRASHED = Rejection("its compressed pixels crash the decoder", "copy or export it again", True)
# Not `-m`, which would import from the folder that the user happens to be in.
_PROGRAM = "import sys; sys.path[:] = sys.argv[4:]; from ldctpipe.dicom.decoding_worker import main; main()"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Words = npt.NDArray[np.uint16]


def decompressed(path: Path) -> Words:
    """Return the stored words (rows, columns) of the one compressed image in the file at `path`.

    They are what uncompressed 16-bit pixel data would hold: values shifted up to HighBit, signed ones in two's
    complement. May be called from several threads at once. Raises `Rejected` where the pixels can't be decoded,
    contradict the header, or where that takes longer than 60 s, more than 1024 MiB, or crashes the decoder.
    """
    return _decoders().words(path)


@functools.cache
def _decoders() -> Decoders:
    decoders = Decoders()
    atexit.register(decoders.close)
    os.register_at_fork(after_in_child=decoders.forget)
    return decoders


class Decoders:
    """Decoder processes, started when needed and handed from one caller to the next."""

    def __init__(self, decode: str = _DECODE, limit_s: float = _LIMIT_S, limit_mib: int = _LIMIT_MIB) -> None:
        self._arguments = decode, limit_s, limit_mib
        self._lock = threading.Lock()
        self._idle: list[_Decoder] = []

    def words(self, path: Path) -> Words:
        """Return the words that the decoder at the import path `decode` makes of the file at `path`.

        A process that has decoded before may suffer from what an earlier file did to its memory, so a file is blamed
        for a crash only when a fresh one crashes too.
        """
        decoder = self._idle_one()
        if decoder:
            try:
                return self._words(decoder, path)
            except _Broken as fault:
                if not fault.is_worth_another_try:
                    raise Rejected(fault.rejection) from None
        try:
            return self._words(_Decoder(*self._arguments), path)
        except _Broken as fault:
            raise Rejected(fault.rejection) from None

    def _idle_one(self) -> _Decoder | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _words(self, decoder: _Decoder, path: Path) -> Words:
        try:
            words = decoder.words(path)
        except Rejected:
            self._give_back(decoder)
            raise
        except BaseException:
            decoder.end()  # an interrupted one, too, would answer the next request with this one's words
            raise
        self._give_back(decoder)
        return words

    def _give_back(self, decoder: _Decoder) -> None:
        with self._lock:
            self._idle.append(decoder)

    def close(self) -> None:
        """End the processes that wait for work."""
        while decoder := self._idle_one():
            decoder.end()

    def forget(self) -> None:
        """Leave the processes to the parent, of which this process is a fork."""
        self._lock = threading.Lock()
        for decoder in self._idle:
            decoder.let_go()
        self._idle.clear()


class _Broken(Exception):
    """A decoder process is of no more use, for the reason in `rejection`."""

    def __init__(self, rejection: Rejection, *, is_worth_another_try: bool = True) -> None:
        self.rejection, self.is_worth_another_try = rejection, is_worth_another_try
        super().__init__(rejection.reason)


class _Decoder:
    """One decoder process and the two pipes to it."""

    def __init__(self, decode: str, limit_s: float, limit_mib: int) -> None:
        self._limit_s, self._limit_mib = limit_s, limit_mib
        places = [os.path.abspath(place) for place in sys.path]  # noqa: PTH100 - "" stands for the working folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, decode, str(limit_s), str(limit_mib), *places],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders print what they find in a file
            bufsize=0,
            env={**os.environ, **_ONE_THREAD},
            start_new_session=True,  # Ctrl-C is for the parent, which then ends this one
        )
        assert self._process.stdin and self._process.stdout
        self._requests, self._replies = self._process.stdin, self._process.stdout
        self._has_reply = select.poll()
        self._has_reply.register(self._replies, select.POLLIN)
        self._await_start()

    def _await_start(self) -> None:
        try:
            kind = REPLY.unpack(self._read(REPLY.size, time.monotonic() + _START_LIMIT_S))[0]
        except _Broken:
            kind = b""
        except BaseException:
            self.end()
            raise
        if kind != READY:
            self.end()
            raise RuntimeError("the process that decodes compressed pixels doesn't start")

    def words(self, path: Path) -> Words:
        """Return the words of the image at `path`; raises `Rejected`, or `_Broken` where this process is done for."""
        deadline = time.monotonic() + self._limit_s
        name = os.fsencode(path.absolute())
        try:
            self._requests.write(REQUEST.pack(len(name)) + name)
        except BrokenPipeError:
            raise _Broken(_CRASHED) from None
        kind, first, second = REPLY.unpack(self._read(REPLY.size, deadline))
        if kind == WORDS and max(first, second) <= LARGEST_ROWS_OR_COLUMNS:
            content = self._read(2 * first * second, deadline)
            return np.frombuffer(content, "<u2").reshape(first, second)
        if kind == REJECTED and first <= _LARGEST_REJECTION_BYTES:
            raise Rejected(Rejection(*json.loads(self._read(first, deadline))))
        if kind == OUT_OF_MEMORY:
            reason = f"its compressed pixels need more than {self._limit_mib} MiB to decode"
            raise _Broken(Rejection(reason, "copy or export it again", True))
        raise _Broken(_CRASHED)

    def _read(self, count_bytes: int, deadline: float) -> bytearray:
        content = bytearray(count_bytes)
        rest = memoryview(content)
        while rest:
            if not self._has_reply.poll(max(0.0, deadline - time.monotonic()) * 1000):
                reason = f"its compressed pixels take longer than {self._limit_s:g} s to decode"
                # a busy machine or a slow disk takes its time, too
                rejection = Rejection(reason, "copy or export it again", True, is_transient=True)
                raise _Broken(rejection, is_worth_another_try=False)
            received = os.readv(self._replies.fileno(), [rest])
            if not received:
                raise _Broken(_CRASHED)
            rest = rest[received:]
        return content

    def end(self) -> None:
        """End the process and take note of its end, so that it leaves nothing behind."""
        self._process.kill()
        self._process.wait()
        self.let_go()

    def let_go(self) -> None:
        """Close this side of the pipes."""
        with contextlib.suppress(OSError):
            self._requests.close()
        self._replies.close()

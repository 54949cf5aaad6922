"""The process that decodes compressed pixels: reads paths, writes words, until its pipe is closed.

Started by `decompression` with the decoder's import path, the limits, and the places to import from as arguments.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.rejection import Rejected, Rejection

# A request is a length and a path. A reply is a kind, two numbers and content: words and their rows and columns, or a
# rejection and its length.
REQUEST, REPLY = struct.Struct("<L"), struct.Struct("<cLL")
READY, WORDS, REJECTED, OUT_OF_MEMORY, FAILED = b"+", b"w", b"r", b"m", b"x"
UNDECODABLE = Rejection("compressed pixels that can't be decoded", "copy or export it again", True)

_GRACE_S = 2.0
_MIB = 1 << 20

Decode = Callable[[Path], npt.NDArray[np.uint16]]


def main() -> None:
    """Answer requests on standard input until it ends; what libraries print goes nowhere."""
    module, function = sys.argv[1].split(":")
    limit_s, limit_mib = float(sys.argv[2]), int(sys.argv[3])
    requests, replies = _private_pipes()
    decode: Decode = getattr(importlib.import_module(module), function)
    _bound_memory(limit_mib * _MIB)
    for last in (signal.SIGALRM, signal.SIGIO):
        signal.signal(last, signal.SIG_DFL)
    replies.write(REPLY.pack(READY, 0, 0))
    replies.flush()
    while (path := _next_path(requests)) is not None:
        with _mortal(requests, limit_s):
            reply = _reply_to(decode, path)
        replies.write(reply)
        replies.flush()
        if reply[:1] in (OUT_OF_MEMORY, FAILED):
            os._exit(1)


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move the two pipes off descriptors 0 and 1, which native code may read from or print to."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    return requests, replies


def _bound_memory(extra_bytes: int) -> None:
    """Allow so many bytes beyond what is mapped now, where the system can; and leave no core file with pixels in it."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        mapped_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped_bytes + extra_bytes,) * 2)


@contextmanager
def _mortal(requests: BinaryIO, limit_s: float) -> Iterator[None]:
    """End this process, whatever native code it is in, when the parent dies meanwhile; the parent ends what hangs.

    SIGIO comes when the other end of the pipe is closed (Linux), or when something is written to it, which the parent
    does only after a reply. The alarm is for systems without it.
    """
    signal.setitimer(signal.ITIMER_REAL, limit_s + _GRACE_S)
    flags = fcntl.fcntl(requests, fcntl.F_GETFL)
    with suppress(OSError):
        fcntl.fcntl(requests, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(requests, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        yield
    finally:
        fcntl.fcntl(requests, fcntl.F_SETFL, flags)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _next_path(requests: BinaryIO) -> Path | None:
    length = requests.read(REQUEST.size)
    if len(length) < REQUEST.size:
        return None
    return Path(os.fsdecode(requests.read(REQUEST.unpack(length)[0])))


def _reply_to(decode: Decode, path: Path) -> bytes:
    try:
        words = np.ascontiguousarray(decode(path), dtype="<u2")
        return REPLY.pack(WORDS, *words.shape) + words.tobytes()
    except Rejected as rejected:
        return _rejected(rejected.rejection)
    except MemoryError:
        return REPLY.pack(OUT_OF_MEMORY, 0, 0)
    except Exception:  # noqa: BLE001 - decoders of many makers, each with its own exceptions
        return _rejected(UNDECODABLE)
    except BaseException:  # noqa: BLE001 - a panic of a decoder in Rust is no Exception
        return REPLY.pack(FAILED, 0, 0)


def _rejected(rejection: Rejection) -> bytes:
    told = [rejection.reason, rejection.remedy, rejection.is_fault, rejection.is_transient]
    content = json.dumps(told).encode()
    return REPLY.pack(REJECTED, len(content), 0) + content


if __name__ == "__main__":
    main()

"""The GPUs that the CUDA driver shows to this process, asked without loading torch."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_LIBRARY = "libcuda.so.1"  # also on WSL and in containers; it heeds CUDA_VISIBLE_DEVICES as torch does
_NAME_BYTES = 256


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name, and its memory in bytes."""

    name: str
    memory_bytes: int


@dataclass(frozen=True)
class CudaDriver:
    """The newest CUDA version that the driver supports, as (major, minor), and the visible GPUs."""

    version: tuple[int, int]
    gpus: tuple[Gpu, ...]


def ask_cuda_driver() -> CudaDriver | None:
    """Return the CUDA version and the GPUs of this machine's driver; None if there is no working driver."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        return _answer(library) if library.cuInit(0) == 0 else None
    except (OSError, AttributeError):
        return None


def _answer(library: ctypes.CDLL) -> CudaDriver:
    version = _number(library.cuDriverGetVersion)
    gpus = tuple(_gpu(library, index) for index in range(_number(library.cuDeviceGetCount)))
    return CudaDriver((version // 1000, version % 1000 // 10), gpus)


def _gpu(library: ctypes.CDLL, index: int) -> Gpu:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, _NAME_BYTES, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(name.value.decode(errors="replace"), memory.value)


def _number(ask: ctypes._NamedFuncPointer) -> int:
    number = ctypes.c_int()
    ask(ctypes.byref(number))
    return number.value

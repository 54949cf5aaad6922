"""How much memory a training takes, and what to set when that is too much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from ldctpipe.errors import InputError
from ldctpipe.recipes.schema import Recipe

_MIB = 1 << 20
_CPU_ALLOCATION_FAILED = ("can't allocate memory", "not enough memory")  # torch has no class of its own for it


def memory_mib(device: torch.device) -> float:
    """Return the most memory that tensors took on a CUDA device so far, elsewhere what this process takes now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MIB
    return psutil.Process().memory_info().rss / _MIB


@contextmanager
def told_how_to_save_memory(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Make running out of memory inside the block an `InputError` that says what to set."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        parts = 2 * recipe.training.accumulation
        fault = f"a batch of {recipe.data.batch_size} patches takes more memory than {device} has"
        remedy = f"--set training.accumulation={parts} trains the same in less memory; smaller batches train otherwise"
        raise InputError(None, fault, remedy) from None


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error) for words in _CPU_ALLOCATION_FAILED)

"""How much memory a training takes, and what to set when that is too much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from ldctpipe.errors import InputError
from ldctpipe.recipes.schema import Recipe

_MIB = 1 << 20
# How torch and the libraries under it say so where they raise no class of its own.
_IN_WORDS = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "ALLOC_FAILED")


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
        if not is_out_of_memory(error):
            raise
        fault = f"a batch of {recipe.data.batch_size} patches takes more memory than {device} has"
        raise InputError(None, fault, _remedy(recipe)) from None


def _remedy(recipe: Recipe) -> str:
    if recipe.algorithm.name != "wgan_gp":  # the others take a batch whole
        images = max(1, recipe.data.images_per_batch // 2)
        return f"train anew with --set data.images_per_batch={images}, or fewer data.patches_per_image"
    parts = min(2 * recipe.training.accumulation, recipe.data.batch_size)
    return f"--resume --set training.accumulation={parts} trains the same in less memory"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether `error` is about memory, of the device or of the machine."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error) for words in _IN_WORDS)

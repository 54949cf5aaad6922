"""Less memory for the same gradient: activations are computed again in the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ldctpipe.training.batch_norm import statistics_paused


def recompute(segments: Sequence[nn.Module]) -> None:
    """Make each of `segments` keep its input only, and run again when its gradient is wanted (Chen 2016, 1604.06174).

    The whole batch goes through a segment at once, so batch norm sees what it would see without this, and its running
    statistics count a batch once.
    """
    for segment in segments:
        # partial, and no closure: a copy of the network would run the segments of this one
        segment.forward = partial(_recomputed, segment, segment.forward)


def _recomputed(segment: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs)
    contexts = lambda: (nullcontext(), statistics_paused(segment))  # noqa: E731 - torch calls it at each pass
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)

"""What batch norm does in a training: keep its statistics, share them over all ranks, or pause while it runs again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed import all_reduce, get_world_size
from torch.nn.modules.batchnorm import _BatchNorm


def freeze(network: nn.Module) -> None:
    """Keep all batch norm of `network` at the statistics that it has, whatever mode the network is put into."""
    for module in _norms(network):
        module.eval()
        module.train = lambda mode=True, module=module: module  # type: ignore[method-assign,misc,assignment]


def share_over_ranks(network: nn.Module, device: torch.device) -> nn.Module:
    """Return `network` with batch norm that normalises by the batches of all ranks together, as one process would.

    CUDA has torch's own kernels for it. Those refuse tensors on the CPU, where `_shared` computes the same.
    """
    if device.type == "cuda":
        return convert_sync_batchnorm(network)
    for module in _norms(network):
        module.forward = partial(_shared, module, module.forward)  # type: ignore[method-assign,arg-type]
    return network


@contextmanager
def statistics_paused(network: nn.Module) -> Iterator[None]:
    """Leave running statistics alone while the block runs: it computes again what was counted before.

    Without tracking, torch would keep other tensors for the backward pass than the first time, so the statistics are
    updated by a share of nothing instead.
    """
    momenta = {module: module.momentum for module in _norms(network) if module.training}
    for module in momenta:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum in momenta.items():
            module.momentum = momentum
            module.num_batches_tracked.sub_(1)  # type: ignore[union-attr]


def _shared(norm: nn.BatchNorm2d, alone: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return `norm` of x (batch, channels, rows, columns) by mean and variance over all ranks, which share alike."""
    if not norm.training:
        return alone(x)
    mean = _MeanOverRanks.apply(x.mean(dim=(0, 2, 3)))
    centred = x - mean.view(1, -1, 1, 1)
    variance = _MeanOverRanks.apply(centred.square().mean(dim=(0, 2, 3)))
    _track(norm, mean.detach(), variance.detach(), get_world_size() * x.numel() // x.shape[1])
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    normed = centred * scale.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
    return norm.act(norm.drop(normed)) if isinstance(norm, BatchNormAct2d) else normed


class _MeanOverRanks(torch.autograd.Function):
    """The mean of a tensor over ranks; each rank's loss depends on it, so gradients take the same mean."""

    @staticmethod
    def forward(_context: Any, own: Tensor) -> Tensor:
        mean = own.clone()
        all_reduce(mean)
        return mean / get_world_size()

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _MeanOverRanks.forward(_context, gradient.contiguous())


@torch.no_grad()
def _track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, values: int) -> None:
    """Move the running statistics as torch does, with the unbiased variance of `values` numbers a channel."""
    share: float = norm.momentum  # type: ignore[assignment]
    norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
    norm.running_mean.lerp_(mean, share)  # type: ignore[union-attr]
    norm.running_var.lerp_(variance * values / (values - 1), share)  # type: ignore[union-attr]


def _norms(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]

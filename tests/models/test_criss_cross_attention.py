"""Criss-cross attention against its definition, position by position."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ldctpipe.models.criss_cross_attention import CrissCrossAttention


class LargestTensor(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def gathered_by_definition(module: CrissCrossAttention, x: Tensor) -> Tensor:
    query, key, value = module.query(x), module.key(x), module.value(x)
    result = torch.zeros_like(value)
    rows, columns = x.shape[-2:]
    for sample in range(len(x)):
        for i in range(rows):
            for j in range(columns):
                cross = sorted({(k, j) for k in range(rows)} | {(i, k) for k in range(columns)})
                energies = torch.stack([query[sample, :, i, j] @ key[sample, :, a, b] for a, b in cross])
                values = torch.stack([value[sample, :, a, b] for a, b in cross])
                result[sample, :, i, j] = energies.softmax(dim=0) @ values
    return result


def test_it_is_softmax_attention_over_row_and_column():
    torch.manual_seed(0)
    module, x = CrissCrossAttention(8, reduction=2), torch.randn(2, 8, 5, 7)

    with torch.no_grad():
        assert torch.allclose(module.gather(x), gathered_by_definition(module, x), atol=1e-6)


def test_two_passes_share_weights_and_add_to_their_input():
    torch.manual_seed(0)
    module, x = CrissCrossAttention(8), torch.randn(1, 8, 4, 6)
    nn.init.constant_(module.weight, 0.5)

    with torch.no_grad():
        once = x + 0.5 * module.gather(x)
        assert torch.allclose(module(x), once + 0.5 * module.gather(once))


def test_one_pass_reaches_the_cross_and_two_reach_everything():
    for recurrence, reached in ((1, 5 + 7 - 1), (2, 5 * 7)):
        torch.manual_seed(0)
        module, x = CrissCrossAttention(8, recurrence=recurrence), torch.randn(1, 8, 5, 7, requires_grad=True)
        nn.init.constant_(module.weight, 0.5)

        module(x)[0, :, 2, 3].sum().backward()

        assert int(x.grad[0].abs().sum(dim=0).count_nonzero()) == reached


def test_it_starts_as_the_identity():
    x = torch.randn(1, 8, 6, 5)

    assert torch.equal(CrissCrossAttention(8)(x), x)


def test_memory_grows_with_the_sides_and_not_with_the_positions():
    side, channels = 40, 8

    with torch.no_grad(), LargestTensor() as largest:
        CrissCrossAttention(channels)(torch.randn(1, channels, side, side))

    assert largest.elements <= side**2 * 2 * side  # full attention would hold side⁴

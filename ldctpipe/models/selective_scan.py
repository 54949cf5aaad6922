"""The selective scan of Mamba in plain PyTorch, for training and for use.

Gu and Dao 2023, arXiv 2312.00752, algorithm 2. On a GPU the recurrence is solved by halving (Blelloch 1990): a depth of
log2(length) instead of a kernel for each element. A CPU goes through the elements, whose states then stay in its cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


def selective_scan(u: Tensor, step: Tensor, decay: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return y (batch, length, channels) of h_t = exp(s_t · decay) h_{t−1} + s_t b_t u_t, y_t = Σ c_t h_t, in float32.

    `u` is (batch, length, channels), `step` the same before its softplus, `decay` (channels, states) and negative,
    `b` and `c` (batch, length, states). The states, `states` times as large as `u`, are not kept for the gradient but
    computed again there.
    """
    with torch.autocast(u.device.type, enabled=False):
        inputs = tuple(x if x.dtype == torch.float64 else x.float() for x in (u, step, decay, b, c))
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            return checkpoint(_scan, *inputs, use_reentrant=False, preserve_rng_state=False)
        return _scan_without_memory(*inputs) if u.device.type == "cpu" else _scan(*inputs)


def linear_recurrence(factor: Tensor, term: Tensor) -> Tensor:
    """Return h of h_t = factor_t h_{t−1} + term_t with h_{−1} = 0, along the first dimension of both, same shape."""
    return _LinearRecurrence.apply(factor, term)


class _LinearRecurrence(torch.autograd.Function):
    """Its gradient is a recurrence too, backwards, so that nothing between has to be remembered."""

    @staticmethod
    def forward(ctx: Any, factor: Tensor, term: Tensor) -> Tensor:
        states = _solved(factor, term)
        ctx.save_for_backward(factor, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        factor, states = ctx.saved_tensors
        following = torch.cat((factor[1:], factor[:1])).flip(0)  # the last element has no follower: 0 times whatever
        of_term = _solved(following, gradients[0].flip(0)).flip(0)
        before = torch.cat((torch.zeros_like(states[:1]), states[:-1]))
        return of_term * before, of_term


def _scan(u: Tensor, step: Tensor, decay: Tensor, b: Tensor, c: Tensor) -> Tensor:
    u, step, b, c = (x.transpose(0, 1) for x in (u, functional.softplus(step), b, c))  # length first
    factor = torch.exp(step[..., None] * decay)  # (length, batch, channels, states)
    states = linear_recurrence(factor, (step * u)[..., None] * b[:, :, None])
    return torch.einsum("lbcn,lbn->blc", states, c)


def _scan_without_memory(u: Tensor, step: Tensor, decay: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The same with the states of one element at a time: no gradient."""
    step = functional.softplus(step)
    term, output = step * u, torch.empty_like(u)
    state = u.new_zeros(*u[:, 0].shape, decay.shape[1])
    for t in range(u.shape[1]):
        state = state.mul_(torch.exp(step[:, t, :, None] * decay)).addcmul_(term[:, t, :, None], b[:, t, None])
        output[:, t] = torch.bmm(state, c[:, t, :, None])[..., 0]
    return output


def _solved(factor: Tensor, term: Tensor) -> Tensor:
    return by_steps(factor, term) if factor.device.type == "cpu" else by_halving(factor, term)


def by_steps(factor: Tensor, term: Tensor) -> Tensor:
    """Solve the recurrence element by element."""
    states = torch.empty_like(term)
    states[0] = term[0]
    for t in range(1, len(term)):
        torch.addcmul(term[t], factor[t], states[t - 1], out=states[t])
    return states


def by_halving(factor: Tensor, term: Tensor) -> Tensor:
    """Solve the recurrence of pairs of elements, half as long, and from it the elements between."""
    length = term.shape[0]
    if length == 1:
        return term
    paired = length - length % 2
    first, second = slice(0, paired, 2), slice(1, paired, 2)
    at_second = by_halving(factor[first] * factor[second], torch.addcmul(term[second], factor[second], term[first]))
    states = torch.empty_like(term)
    states[second] = at_second
    states[0] = term[0]
    states[2::2] = torch.addcmul(term[2::2], factor[2::2], at_second[: (length - 1) // 2])
    return states

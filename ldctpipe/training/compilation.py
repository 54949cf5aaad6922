"""torch.compile and CUDA graphs where they win: tried on a real batch, and dropped where they fail or are no faster."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ldctpipe.progress import say, warn

MODES = ("reduce-overhead", "default")  # with CUDA graphs, where launching kernels takes longer than running them
_REPEATS = 5
_TOLERANCE = 0.02  # of a tensor's norm: compiled kernels round otherwise, and no more than that
_LEAST_GAIN = 1.05  # below it the gain is not worth the minutes of compiling again after each interruption
_FILLING = 0.01

Compiler = Callable[[nn.Module, str], None]  # compiles a network in place, in a mode


def _inductor(network: nn.Module, mode: str) -> None:
    network.compile(mode=mode)


def compile_if_faster(
    name: str, network: nn.Module, run: Callable[[], Sequence[Tensor]], compile_network: Compiler = _inductor
) -> str | None:
    """Compile `network` in place in its fastest mode, and return the mode, or None where eager execution stays.

    `run` calls the network in every way in which training does, and returns outputs and gradients to compare.
    Parameters, statistics and gradients are afterwards what they were.
    """
    kept = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    _fill_zeros(network)
    eager_s, expected = _timed(run)
    fastest_s, fastest = eager_s / _LEAST_GAIN, None
    for mode in MODES:
        try:
            compile_network(network, mode)
            seconds, found = _timed(run)
        except Exception as error:  # noqa: BLE001 - the compiler and its back ends raise many kinds
            warn(f"{name}: torch.compile ({mode}) failed with {type(error).__name__}; going on without it")
            continue
        finally:
            network._compiled_call_impl = None
        if not _agree(found, expected):
            warn(f"{name}: torch.compile ({mode}) gives other values; going on without it")
        elif seconds < fastest_s:
            fastest_s, fastest = seconds, mode
    if fastest is not None:
        compile_network(network, fastest)
        say(f"{name}: torch.compile ({fastest}) takes {fastest_s / eager_s:.2f} of the time")
    network.load_state_dict(kept)
    network.zero_grad(set_to_none=True)
    return fastest


@torch.no_grad()
def _fill_zeros(network: nn.Module) -> None:
    """Give parameters that start at zero a value for the trial: behind such a layer, any output would look right."""
    stream = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if not parameter.count_nonzero():
            parameter.copy_(_FILLING * torch.randn(parameter.shape, generator=stream))


def _timed(run: Callable[[], Sequence[Tensor]]) -> tuple[float, list[Tensor]]:
    """Return the least seconds of several runs, after two that compile and warm up, and what the first returned."""
    first = [tensor.detach().clone() for tensor in run()]
    run()
    times = []
    for _ in range(_REPEATS):
        _finish(first[0].device)
        started = time.perf_counter()
        run()
        _finish(first[0].device)
        times.append(time.perf_counter() - started)
    return min(times), first


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _agree(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Tell whether outputs are as expected one by one, and gradients, of which some are all rounding, together."""
    far = [float((ours - theirs).float().norm()) for ours, theirs in zip(found, expected, strict=True)]
    size = [float(theirs.float().norm()) for theirs in expected]
    outputs = all(distance <= _TOLERANCE * length for distance, length in zip(far[:2], size[:2], strict=True))
    return outputs and sum(far) <= _TOLERANCE * sum(size)  # false for values that are no numbers, too

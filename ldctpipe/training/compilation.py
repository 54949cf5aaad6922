"""torch.compile and CUDA graphs where they win: tried on a real batch, and dropped where they fail or are no faster."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ldctpipe.progress import say, warn

MODES = ("reduce-overhead", "default")  # with CUDA graphs, where launching kernels takes longer than running them
_REPEATS = 5
_TOLERANCE = 0.01  # of the largest value: compiled kernels round otherwise, and no more than that
_LEAST_GAIN = 1.05  # below it the gain is not worth the minutes of compiling again after each interruption
Compiler = Callable[[nn.Module, str], None]  # compiles a network in place, in a mode


def _inductor(network: nn.Module, mode: str) -> None:
    network.compile(mode=mode)


def compile_if_faster(
    name: str, network: nn.Module, run: Callable[[], Tensor], compile_network: Compiler = _inductor
) -> str | None:
    """Compile `network` in place in its fastest mode, and return the mode, or None where eager execution stays.

    `run` calls the network as training does, forwards and backwards, and returns what can be compared. Parameters,
    statistics and gradients are afterwards what they were.
    """
    kept = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    eager_s, expected = _timed(run)
    fastest_s, fastest = eager_s / _LEAST_GAIN, None
    for mode in MODES:
        try:
            compile_network(network, mode)
            seconds, output = _timed(run)
        except Exception as error:  # noqa: BLE001 - the compiler and its back ends raise many kinds
            warn(f"{name}: torch.compile ({mode}) failed with {type(error).__name__}; going on without it")
            continue
        finally:
            _undo(network)
        if not _agree(output, expected):
            warn(f"{name}: torch.compile ({mode}) gives other values; going on without it")
        elif seconds < fastest_s:
            fastest_s, fastest = seconds, mode
    if fastest is not None:
        compile_network(network, fastest)
        say(f"{name}: torch.compile ({fastest}) takes {fastest_s / eager_s:.2f} of the time")
    network.load_state_dict(kept)
    network.zero_grad(set_to_none=True)
    return fastest


def _timed(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the least seconds of several runs, after two that compile and warm up, and the first run's output."""
    output = run().detach().clone()
    run()
    times = []
    for _ in range(_REPEATS):
        _finish(output.device)
        started = time.perf_counter()
        run()
        _finish(output.device)
        times.append(time.perf_counter() - started)
    return min(times), output


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _agree(output: Tensor, expected: Tensor) -> bool:
    scale = float(expected.abs().max())
    return bool(torch.isfinite(output).all()) and float((output - expected).abs().max()) <= _TOLERANCE * scale


def _undo(network: nn.Module) -> None:
    network._compiled_call_impl = None
    torch._dynamo.reset()

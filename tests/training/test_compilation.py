"""torch.compile is kept where it is right and faster, and leaves no trace where it is not."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from ldctpipe.training import compilation
from ldctpipe.training.compilation import compile_if_faster


class Slow(nn.Module):
    """Batch norm after a pause, as a launch-bound network behaves."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.pause_s = 0.01

    def forward(self, x):
        time.sleep(self.pause_s)
        return self.norm(x)


@pytest.fixture
def network():
    return Slow()


@pytest.fixture
def run(network):
    image = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def forward_and_back():
        output = network(image)
        output.sum().backward()
        return output

    return forward_and_back


def compiler(pause_s: float = 0.0, factor: float = 1.0, fails: bool = False):
    """Return a stand-in for torch's compiler whose result is as fast, right and sound as asked for."""

    def compile_network(network: nn.Module, mode: str) -> None:
        if fails:
            raise RuntimeError("no compiler here")

        def call(x):
            time.sleep(pause_s)
            return factor * network.norm(x)

        network._compiled_call_impl = call

    return compile_network


def test_what_is_faster_stays(network, run):
    assert compile_if_faster("n", network, run, compiler()) in compilation.MODES
    assert network._compiled_call_impl is not None


@pytest.mark.parametrize(
    ("options", "says"),
    [({"pause_s": 0.02}, ""), ({"factor": 1.5}, "gives other values"), ({"fails": True}, "failed with RuntimeError")],
)
def test_what_is_slower_or_wrong_or_fails_goes(network, run, options, says, capsys):
    assert compile_if_faster("n", network, run, compiler(**options)) is None
    assert network._compiled_call_impl is None
    assert says in capsys.readouterr().err


def test_weights_statistics_and_gradients_are_as_before(network, run):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    compile_if_faster("n", network, run, compiler())

    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_torchs_own_compiler_trains_the_same(request_for, monkeypatch):
    """Through torch's tracing and its autograd, without the minutes of generating code."""
    from ldctpipe.training.run import train_bundle

    monkeypatch.setattr(compilation, "MODES", ("default",))
    monkeypatch.setattr(compilation, "_LEAST_GAIN", 1e-9)  # whatever it gains, it is kept

    def compile_network(network: nn.Module, mode: str) -> None:
        network.compile(backend="aot_eager")

    monkeypatch.setattr(compilation.compile_if_faster, "__defaults__", (compile_network,))
    eager = train_bundle(request_for("eager", iterations=2))

    compiled = train_bundle(request_for("compiled", iterations=2, compiled=True))

    assert compiled["training"]["compiled"]["generator"] in compilation.MODES
    assert compiled["training"]["validation_loss"] == pytest.approx(eager["training"]["validation_loss"], rel=1e-4)

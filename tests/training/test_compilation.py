"""torch.compile is kept where it is right and faster, and leaves no trace where it is not."""

from __future__ import annotations

import functools
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
        network.zero_grad()
        output = network(image)
        output.square().sum().backward()
        return [output, network.norm.weight.grad]

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


class AfterZeros(nn.Module):
    """Its output is its input as long as its last layer holds zeros, as residual networks start."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(1, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x):
        return x + self.last(x)


def test_a_wrong_network_behind_zeros_is_found():
    network, image = AfterZeros(), torch.rand(1, 1, 8, 8)

    def compile_network(network: nn.Module, mode: str) -> None:
        network._compiled_call_impl = lambda x: x + 7 * network.last(x)

    assert compile_if_faster("n", network, lambda: [network(image)], compile_network) is None
    assert not network.last.weight.any()


@pytest.mark.slow
def test_torchs_own_compiler_trains_the_same(request_for, monkeypatch, backbone_file):
    """Through torch's tracing and its autograd, without the minutes of generating code."""
    from ldctpipe.training import run
    from ldctpipe.training.assembly import compile_networks

    monkeypatch.setattr(compilation, "MODES", ("default",))
    monkeypatch.setattr(compilation, "_LEAST_GAIN", 1e-9)  # whatever it gains, it is kept

    def compile_network(network: nn.Module, mode: str) -> None:
        network.compile(backend="aot_eager")

    options = {"iterations": 2, "pretrained": True, "backbone_weights": backbone_file}
    eager = run.train_bundle(request_for("eager", **options))
    compiler = functools.partial(compile_if_faster, compile_network=compile_network)
    monkeypatch.setattr(run, "compile_networks", functools.partial(compile_networks, compiler=compiler))

    compiled = run.train_bundle(request_for("compiled", compiled=True, **options))

    assert compiled["training"]["compiled"] == {"generator": "default", "perceptual network": "default"}
    assert compiled["training"]["validation_loss"] == pytest.approx(eager["training"]["validation_loss"], rel=1e-4)

"""What one 512×512 slice costs each shipped method: parameters, GFLOP, seconds, peak memory; beside ldct-benchmark.

    .venv/bin/python benchmarks/methods.py [--only NAME …] [--threads 2] [--device cpu] [--limit 600]
    .venv/bin/python benchmarks/methods.py --out          # also writes benchmarks/results/methods.json

Each method runs in a process of its own, and ldct-benchmark's network of that name right after it in another, so that
one's memory is not the other's. The slice comes with the neighbours that the method wants. Weights are random: what is
measured does not depend on them. Seconds are the median of the passes after the first (of the first where the time ran
out: `passes` is 0), in float32, as `ldctpipe denoise` runs them. GFLOP count a multiplication and an addition apart, as
torch counts them: convolutions, matrix products and attention, nothing of what classical filters do; they are counted
on shapes alone. Memory on a CPU is the highest resident size in the first pass less what it was before, so without
weights and libraries; on CUDA it is the most that torch had allocated, weights with it.

A method that is not done after `--limit` seconds says so, with what was known by then.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ldctpipe.errors import UsageError
from ldctpipe.models.cost import count_gflop
from ldctpipe.models.memory_format import to_channels_last
from ldctpipe.recipes.library import load_recipe, shipped_names
from ldctpipe.recipes.networks import build_generator
from ldctpipe.recipes.schema import Recipe

SIDE = 512
NOISE_HU = 30.0
RESULTS = Path(__file__).parent / "results" / "methods.json"
MIB = 1 << 20

Figures = dict[str, Any]  # of one network: parameters, gflop, seconds, memory_mib, each once it is known; note


@dataclass(frozen=True)
class Peer:
    """A network of ldct-benchmark, by its module; `differs` says in what it is not the method's own."""

    module: str
    differs: str = ""


PEERS = {
    "red-cnn": Peer("redcnn"),
    "wgan-vgg": Peer("wganvgg"),
    "resnet": Peer("resnet"),
    "q-ae": Peer("qae"),
    "du-gan": Peer("dugan", "another network: it trains RED-CNN as DU-GAN's generator"),
    "cnn10-cascade": Peer("cnn10", "another network: three layers of Chen 2017"),
}


def network_of(recipe: Recipe, peer: bool) -> nn.Module:
    """Return a recipe's network as `ldctpipe denoise` runs it, or the peer's as it comes, with random weights."""
    if peer:
        module = import_module(f"ldctbench.methods.{PEERS[recipe.name].module}.network")
        return module.Model(argparse.Namespace()).eval()  # type: ignore[no-any-return]
    return to_channels_last(build_generator(recipe).eval())


def slice_of(recipe: Recipe) -> Tensor:
    """Return a noisy disc of water with its neighbours, (1, slices, 512, 512) in the recipe's units."""
    place = torch.arange(SIDE) - SIDE / 2
    disc = torch.where(torch.hypot(place[:, None], place) < 0.4 * SIDE, 40.0, -1000.0)
    noise = torch.randn(1, 2 * recipe.data.context + 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return recipe.data.normalization.as_map().normalize(disc + NOISE_HU * noise)


def measure(recipe: Recipe, peer: bool, options: argparse.Namespace) -> None:
    """Print what is known of a network in this process as lines of JSON, the more the later."""
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    network = network_of(recipe, peer).to(device)
    image = slice_of(recipe)[:, recipe.data.context if peer else slice(None)].view(1, -1, SIDE, SIDE).to(device)
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    tell(parameters=parameters, slices=image.shape[1])
    memory = Memory(device)
    tell(seconds=seconds(network, image), passes=0, memory_mib=memory.peak_mib())
    tell(gflop=gflop(network, image.shape, device))
    times: list[float] = []
    while len(times) < options.repeats:
        times.append(seconds(network, image))
        tell(seconds=statistics.median(times), passes=len(times))


def tell(**figures: Any) -> None:
    """Print figures for the process that waits for them, even if this one is stopped afterwards."""
    print(json.dumps(figures), flush=True)


@torch.no_grad()
def gflop(network: nn.Module, shape: torch.Size, device: torch.device) -> float | None:
    """Return the arithmetic of one pass in 10⁹; None where it depends on what is in the image."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        try:
            return count_gflop(network, torch.empty(shape, device=device)) or None
        except DataDependentOutputException:
            return None


@torch.inference_mode()
def seconds(network: nn.Module, image: Tensor) -> float:
    """Return the time of one pass."""
    started = time.perf_counter()
    network(image)
    if image.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


class Memory:
    """The most memory that has been in use since this was made."""

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        if self._is_cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the highest resident size counts anew from here
            self._before_kib = self._kib("VmRSS")

    def peak_mib(self) -> float:
        """Return the peak in MiB, on a CPU less what was resident before."""
        if self._is_cuda:
            return torch.cuda.max_memory_allocated() / MIB
        return (self._kib("VmHWM") - self._before_kib) / 1024

    @staticmethod
    def _kib(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def in_a_process(name: str, peer: bool, options: argparse.Namespace) -> Figures:
    """Return what `measure` finds in a process of its own, or how far it came."""
    command = [sys.executable, __file__, "--measure", name, *(["--peer"] if peer else [])]
    command += ["--threads", str(options.threads), "--device", options.device, "--repeats", str(options.repeats)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, check=False)
        last_words = [f"ended with code {done.returncode}", *done.stderr.strip().splitlines()][-1]
        output, note = done.stdout, last_words if done.returncode else ""
    except subprocess.TimeoutExpired as stopped:
        output = stopped.stdout.decode() if stopped.stdout else ""
        note = f"longer than {options.limit:g} s"
    found: Figures = dict.fromkeys(("parameters", "slices", "gflop", "seconds", "memory_mib")) | {"note": note}
    for line in output.splitlines():
        found |= json.loads(line)
    return found


def measured(name: str, recipe: Recipe, options: argparse.Namespace) -> Figures:
    """Return the figures of a method, with its peer's and the ratios to them where there is one."""
    row = {"name": recipe.name, "network": recipe.generator.network} | in_a_process(name, False, options)
    if peer := PEERS.get(recipe.name):
        theirs = in_a_process(name, True, options)
        ratios = {key: ratio(theirs, row, key) for key in ("parameters", "gflop", "memory_mib")}
        row["peer"] = {"module": peer.module, "differs": peer.differs, **theirs}
        row["times_peer"] = ratios | {"speed": ratio(row, theirs, "seconds")}
    return row


def ratio(below: Figures, above: Figures, key: str) -> float | None:
    """Return above/below where both are known."""
    return above[key] / below[key] if above[key] and below[key] else None


def table_of(rows: list[Figures]) -> list[str]:
    """Return the lines of the table; a peer stands below its method, whose ratios are to it."""
    head = f"{'method':28} {'slices':>6} {'parameters':>12} {'GFLOP':>9} {'s/slice':>9} {'MiB':>7}"
    lines = [f"{head} {'× speed':>8} {'× memory':>9}"]
    for row in rows:
        times = row.get("times_peer", {})
        lines.append(
            f"{line_of(row['name'], row)} {cell(times.get('speed'), 8, 2)} {cell(times.get('memory_mib'), 9, 2)}"
        )
        lines[-1] += f"  {row['note']}" * bool(row["note"])
        if peer := row.get("peer"):
            said = "; ".join(filter(None, (peer["differs"], peer["note"])))
            lines.append(
                line_of(f"  ldct-benchmark {peer['module']}", peer) + f" {'1':>8} {'1':>9}" + f"  {said}" * bool(said)
            )
    return [line.rstrip() for line in lines]


def line_of(name: str, found: Figures) -> str:
    """Return the columns that methods and peers have alike."""
    figures = (("slices", 6, 0), ("parameters", 12, 0), ("gflop", 9, 1), ("seconds", 9, 3), ("memory_mib", 7, 0))
    return " ".join([f"{name:28}", *(cell(found[key], width, digits) for key, width, digits in figures)])


def cell(value: float | None, width: int, digits: int) -> str:
    """Return a number as the table has it, or a dash where it is not known."""
    return f"{'–':>{width}}" if value is None else f"{value:{width},.{digits}f}"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these recipes, by name or as .yaml files")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--repeats", type=int, default=3, help="timed passes of each network, after one that is not")
    parser.add_argument("--limit", type=float, default=600, metavar="SECONDS", help="for one method, and for one peer")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--out", nargs="?", type=Path, const=RESULTS, help="also write the JSON here")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    if options.measure:
        try:
            measure(load_recipe(options.measure), options.peer, options)
        except UsageError as error:  # what the method wants is not installed
            tell(note=str(error))
        return
    machine = torch.cuda.get_device_name() if options.device == "cuda" else f"cpu ({platform.machine()})"
    record: dict[str, Any] = {
        "torch": torch.__version__, "machine": machine, "threads": options.threads, "side": SIDE,
        "repeats": options.repeats, "limit_s": options.limit, "methods": [],
    }  # fmt: skip
    recipes = {name: load_recipe(name) for name in options.only or shipped_names()}
    for name, recipe in recipes.items():
        print(f"{name} …", file=sys.stderr, flush=True)
        record["methods"].append(measured(name, recipe, options))
        if options.out:  # after each, so that what took an hour is not lost in the next
            options.out.write_text(json.dumps(record, indent=2) + "\n")
    if options.json:
        print(json.dumps(record, indent=2))
        return
    print(f"torch {torch.__version__} on {machine}, {options.threads} threads; {SIDE}×{SIDE}, batch 1")
    print("\n".join(table_of(record["methods"])))


if __name__ == "__main__":
    main()

"""Several ranks: two with half of a batch each have the gradient of one process with the whole batch."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from test_killed_training import last_logged
from training_process import start_rank

from ldctpipe.errors import ExitCode, UsageError
from ldctpipe.recipes.library import load_recipe, recipe_to_yaml
from ldctpipe.training.launch import launch_fabric

BATCH = 8


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    stream = torch.Generator().manual_seed(2)
    return [tuple(torch.rand(2, BATCH, 1, 64, 64, generator=stream)) for _ in range(2)]


def step_on(part: slice, recipe, fabric) -> dict[str, torch.Tensor]:
    """Return the gradients and the statistics of batch norm after one step on this part of each batch."""
    from ldctpipe.training.assembly import build_algorithm
    from ldctpipe.training.imagenet import ImageNetWeights

    algorithm = build_algorithm(recipe, ImageNetWeights(False, None), fabric)
    (mixing,) = algorithm.generators.values()
    mixing.manual_seed(4)
    torch.rand(part.start, generator=mixing)  # each rank draws what the whole batch draws in its place
    parts = iter([(low[part], full[part]) for low, full in batches()])
    algorithm.step(lambda: next(parts), 1e-9)
    result = {}
    for name, network in algorithm.networks().items():
        result |= {f"{name}.{key}": parameter.grad for key, parameter in network.named_parameters()}
        result |= {f"{name}.{key}": buffer for key, buffer in network.named_buffers()}
    return result


def rank_step(rank: int, recipe, path: str) -> None:
    torch.set_num_threads(1)
    fabric = launch_fabric(recipe, "cpu", devices=2)
    half = BATCH // 2
    torch.save(step_on(slice(rank * half, (rank + 1) * half), recipe, fabric), path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_ranks_with_half_the_batch_each_give_the_gradient_of_one_process(tmp_path, accumulation):
    from conftest import small_recipe

    recipe = small_recipe("algorithm.critic_updates=1", f"training.accumulation={accumulation}")
    port, paths = free_port(), [tmp_path / "0.pt", tmp_path / "1.pt"]
    ranks = [start_rank(rank_step, rank, port, rank, recipe, str(path)) for rank, path in enumerate(paths)]
    whole = step_on(slice(0, BATCH), small_recipe("algorithm.critic_updates=1"), launch_fabric(recipe, "cpu"))
    for rank in ranks:
        rank.join(240)
    assert [rank.exitcode for rank in ranks] == [0, 0]

    for path in paths:
        found = torch.load(path)
        assert found.keys() == whole.keys()
        # what nearly cancels in one layer is rounded as what it is the difference of
        largest = max(float(gradient.abs().max()) for name, gradient in whole.items() if "critic" in name)
        for name, expected in whole.items():
            rounding = 1e-6 if "running" in name else 2e-4 * float(expected.abs().max()) + 2e-6 * largest
            assert torch.allclose(found[name].double(), expected.double(), rtol=2e-3, atol=rounding), name


def test_a_batch_that_cannot_be_shared_is_said():
    from conftest import small_recipe

    with pytest.raises(UsageError, match="3 images a batch can't be shared by 2 devices"):
        launch_fabric(small_recipe("data.images_per_batch=3"), "cpu", devices=2)


def test_processes_of_srun_that_do_not_fit_are_said_and_the_tasks_of_a_batch_script_are_no_ranks(monkeypatch):
    from conftest import small_recipe

    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert launch_fabric(small_recipe(), "cpu").world_size == 1

    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(UsageError, match="srun started 2 processes on 1 nodes; there have to be 1 on each of 1"):
        launch_fabric(small_recipe(), "cpu")


@pytest.fixture
def command(tiny_store, tmp_path: Path, request_for) -> list[str]:
    """The command line of a training by two ranks; a program of its own, because it starts itself again."""
    recipe = tmp_path / "small.yaml"
    recipe.write_text(recipe_to_yaml(request_for("x", "training.checkpoint_every=4", iterations=8).recipe))
    program = [sys.executable, "-m", "ldctpipe.cli.app", "train", str(tiny_store), str(tmp_path / "model")]
    options = ["--recipe", str(recipe), "--no-pretrained", "--device", "cpu", "--threads", "1", "--previews", "0"]
    return [*program, *options, "--devices", "2", "--resume"]


@pytest.mark.slow
def test_ranks_draw_their_own_batches_and_one_of_them_writes(command, tmp_path):
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.count("weights of iteration") == 1
    checkpoint = torch.load(sorted((tmp_path / "model.checkpoints").glob("iteration-*.pt"))[-1])
    first, second = checkpoint["randomness"]
    for name in first["sampler"]:
        assert not torch.equal(first["sampler"][name], second["sampler"][name])
    assert not torch.equal(first["algorithm"]["gradient penalty"], second["algorithm"]["gradient penalty"])
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert card["training"]["devices"] == 2
    assert len((tmp_path / "model" / "training.csv").read_text().splitlines()) == 1 + 8
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "model" / "model.safetensors").values())


@pytest.mark.slow
def test_ranks_share_a_network_whose_two_trainings_use_different_parameters(tiny_store, tmp_path):
    small = ("generator.channels=4", "generator.blocks=[1]", "generator.heads=2", "data.patch_size=16")
    recipe = tmp_path / "lomae.yaml"
    recipe.write_text(
        recipe_to_yaml(load_recipe("lomae", [*small, "data.images_per_batch=2", "training.iterations=8"]))
    )
    program = [sys.executable, "-m", "ldctpipe.cli.app", "train", str(tiny_store), str(tmp_path / "model")]
    options = ["--recipe", str(recipe), "--device", "cpu", "--threads", "1", "--previews", "0", "--devices", "2"]

    subprocess.run([*program, *options], capture_output=True, check=True)

    assert len((tmp_path / "model" / "training.csv").read_text().splitlines()) == 1 + 2  # the first and the last


def faulty_rank(rank: int, faulty: int, request, said: str) -> None:
    """Train as one of two ranks, of which one runs out of memory at its third step; what both say goes to `said`."""
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
    from ldctpipe.cli import app
    from ldctpipe.training.run import train_bundle
    from ldctpipe.training.wgan_gp import WganGp

    torch.set_num_threads(1)
    original, steps = WganGp.step, []

    def step(self, *arguments, **options):
        steps.append(1)
        if rank == faulty and len(steps) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, *arguments, **options)

    WganGp.step = step
    app._invoke = lambda _: train_bundle(request) and 0
    raise SystemExit(app.run(["train"]))


@pytest.mark.slow
@pytest.mark.parametrize("faulty", [0, 1])
def test_a_rank_that_fails_ends_all_with_one_sentence(request_for, tmp_path, faulty):
    request, port, path = request_for("model", iterations=100, devices=2), free_port(), tmp_path / "said"

    ranks = [start_rank(faulty_rank, rank, port, rank, faulty, request, str(path)) for rank in range(2)]
    for rank in ranks:
        rank.join(120)

    codes = [rank.exitcode for rank in ranks]
    assert codes[faulty] == ExitCode.INPUT
    assert codes[1 - faulty] not in (0, ExitCode.BUG, None)
    said = path.read_text()
    assert "Traceback" not in said
    assert said.count("takes more memory than cpu has") == 1


@pytest.mark.slow
def test_a_signal_to_the_first_rank_ends_all_and_the_run_goes_on(command, tmp_path):
    long = [*command, "--iterations", "100000"]
    folder = tmp_path / "model.checkpoints"
    process = subprocess.Popen(long, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not ((folder / "training.csv").exists() and last_logged(folder) > 1):
        time.sleep(0.05)
    ranks = psutil.Process(process.pid).children(recursive=True)

    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=120)

    assert process.returncode == ExitCode.RESUMABLE, errors
    assert errors.splitlines()[-1].startswith("ldctpipe: SIGTERM: saved at iteration ")
    assert ranks
    assert not psutil.wait_procs(ranks, timeout=30)[1]
    saved = last_logged(folder)
    process = subprocess.Popen(long, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and last_logged(folder) <= saved:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert f"going on after iteration {saved}" in errors
    assert process.returncode == ExitCode.RESUMABLE

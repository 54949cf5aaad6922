"""Running out of memory says what to set; recomputation takes less of it."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from conftest import small_recipe
from training_process import start_function

from ldctpipe.errors import InputError
from ldctpipe.training.memory import told_how_to_save_memory


def limited_training(request, spare_bytes: int, path: str) -> None:
    """Train in a process that gets `spare_bytes` more of memory than it has now; write how it ended to `path`."""
    from ldctpipe.progress import set_quiet
    from ldctpipe.training.run import train_bundle

    torch.set_num_threads(1)
    set_quiet(True)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + spare_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        train_bundle(request)
    except InputError as error:
        Path(path).write_text(str(error))


def test_out_of_memory_says_what_to_set(request_for, tmp_path):
    request = request_for("model", "data.images_per_batch=64", "data.patches_per_image=4", iterations=1)

    process = start_function(limited_training, request, 700 << 20, str(tmp_path / "said"))
    process.join(120)

    said = (tmp_path / "said").read_text()
    assert "a batch of 256 patches takes more memory than cpu has" in said
    assert "training.accumulation=2" in said
    assert not request.out.exists()


def test_what_it_says_can_be_done(request_for, monkeypatch):
    from ldctpipe.training.run import train_bundle
    from ldctpipe.training.wgan_gp import WganGp

    def step(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(WganGp, "step", step)
        with pytest.raises(InputError, match=r"--resume --set training\.accumulation=2"):
            train_bundle(request_for("model", iterations=2))

    card = train_bundle(request_for("model", "training.accumulation=2", iterations=2, resume=True))

    assert card["training"]["iterations"] == 2


def test_too_little_memory_to_resume_damages_no_checkpoint(request_for, monkeypatch):
    from dataclasses import replace

    from ldctpipe.training.run import train_bundle

    request = request_for("model", iterations=2)
    train_bundle(request)

    def load(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", load)
        with pytest.raises(InputError, match="more memory"):
            train_bundle(replace(request, resume=True, out=request.out.with_name("again")))

    assert not list(request.checkpoints.glob("*.damaged"))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_every_kind_of_it_is_known(error):
    recipe = small_recipe("training.accumulation=4", "data.images_per_batch=8")

    with (
        pytest.raises(InputError, match=r"training\.accumulation=8"),
        told_how_to_save_memory(recipe, torch.device("cpu")),
    ):
        raise error


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shape"), told_how_to_save_memory(small_recipe(), torch.device("cpu")):
        raise RuntimeError("shape '[3]' is invalid")


def peak_of_a_generator_update(parts: int, path: str) -> None:
    """Write how much the peak of this process's memory rose, in MiB, during one update of a large batch."""
    from ldctpipe.training.assembly import build_algorithm
    from ldctpipe.training.imagenet import ImageNetWeights
    from ldctpipe.training.launch import launch_fabric

    torch.set_num_threads(1)
    recipe = small_recipe(f"training.accumulation={parts}")
    algorithm = build_algorithm(recipe, ImageNetWeights(False, None), launch_fabric(recipe, "cpu"))
    algorithm.critic.requires_grad_(False)
    algorithm.update_generator(*torch.rand(2, 2, 1, 64, 64))  # allocates gradients and the optimizer's state
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    algorithm.update_generator(*torch.rand(2, 96, 1, 64, 64))
    Path(path).write_text(str((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def test_accumulation_takes_less_memory(tmp_path):
    paths = {parts: tmp_path / str(parts) for parts in (1, 8)}
    for parts, path in paths.items():
        start_function(peak_of_a_generator_update, parts, str(path)).join(240)

    whole, divided = (float(path.read_text()) for path in paths.values())
    assert divided < 0.7 * whole, (whole, divided)


@pytest.mark.parametrize(("recipe", "remedy"), [("red-cnn", "data.images_per_batch=8"), ("wgan-vgg", "accumulation=2")])
def test_an_algorithm_that_takes_a_batch_whole_is_told_of_a_smaller_one(recipe, remedy):
    from ldctpipe.recipes.library import load_recipe
    from ldctpipe.training.memory import told_how_to_save_memory

    with pytest.raises(InputError, match=remedy), told_how_to_save_memory(load_recipe(recipe), torch.device("cpu")):
        raise torch.OutOfMemoryError("CUDA out of memory")

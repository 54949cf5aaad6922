"""The devices, ranks and precision of a training, through Lightning Fabric."""

from __future__ import annotations

import logging
import os
import re
import warnings
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, SLURMEnvironment
from torch import Tensor, nn

from ldctpipe.devices import pick_device
from ldctpipe.errors import UsageError
from ldctpipe.progress import set_quiet
from ldctpipe.recipes.schema import Recipe


class ImagePrecision(MixedPrecision):
    """Mixed precision in which images stay float32: as bfloat16, soft tissue would be rounded to 6 HU on its way in."""

    def convert_input(self, data: Any) -> Any:
        return data

    def backward(
        self, tensor: Tensor, model: nn.Module | None, *args: Any, gradient: Tensor | None = None, **kwargs: Any
    ) -> None:
        """Go backwards from a loss, which is scaled, or from a tensor whose `gradient` came of a scaled loss."""
        if gradient is None:
            super().backward(tensor, model, *args, **kwargs)
        else:
            Precision.backward(self, tensor, model, *args, gradient=gradient, **kwargs)


def launch_fabric(
    recipe: Recipe, device: str = "auto", threads: int | None = None, devices: int = 1, nodes: int = 1
) -> Fabric:
    """Return the launched Fabric of this rank; with several `devices` on a node it has started the other ranks.

    Raises `UsageError` where there are fewer devices, srun started another number of processes, or the recipe's batch
    can't be shared out evenly.
    """
    kind = pick_device(device, threads).type
    ranks = devices * nodes
    _require_devices(kind, devices)
    if recipe.data.images_per_batch % ranks:
        fault = f"{recipe.data.images_per_batch} images a batch can't be shared by {ranks} devices"
        raise UsageError(None, fault, "take a number that divides it, or change data.images_per_batch")
    fabric = Fabric(
        accelerator=kind,
        devices=devices,
        num_nodes=nodes,
        strategy=_strategy(recipe) if ranks > 1 else "auto",
        plugins=[_environment(devices, nodes), _precision(recipe, kind)],
    )
    _hush_libraries()
    fabric.launch()
    if not fabric.is_global_zero:
        set_quiet(True)
    return fabric


def _strategy(recipe: Recipe) -> str:
    """Return how ranks share gradients: a network that is trained twice leaves some parameters alone each time."""
    return "ddp_find_unused_parameters_true" if recipe.algorithm.name == "masked_pretraining" else "ddp"


def _hush_libraries() -> None:
    """Keep Lightning's greetings, and torch's advice on strides that channels-last can't follow, off the terminal."""
    for name in ("lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")


def _require_devices(kind: str, devices: int) -> None:
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind, devices)  # CPU ranks share the cores
    if devices > there:
        raise UsageError(None, f"--devices {devices}: this machine has {there} of {kind}", f"take at most {there}")


def _environment(devices: int, nodes: int) -> ClusterEnvironment:
    """Return how the ranks find each other: where srun started them, by Slurm's variables.

    In a batch script, whatever it asked Slurm for, this process starts the others of its node; torchrun's variables are
    those that Lightning's own environment reads.
    """
    tasks = _count("SLURM_STEP_NUM_TASKS")  # of srun alone: a batch script has SLURM_NTASKS, too
    if tasks == 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        return LightningEnvironment()
    on_nodes = _count("SLURM_STEP_NUM_NODES")
    if (tasks, on_nodes) != (devices * nodes, nodes):
        fault = f"srun started {tasks} processes on {on_nodes} nodes; there have to be {devices} on each of {nodes}"
        raise UsageError(None, fault, "change srun's --nodes and --ntasks-per-node, or --nodes and --devices")
    os.environ["SLURM_NTASKS_PER_NODE"] = str(devices)  # Lightning insists on it, srun -n 2 sets none
    return SLURMEnvironment(auto_requeue=False)


def _count(variable: str) -> int:
    """Return the number that Slurm sets in a variable, 1 where it doesn't."""
    text = os.environ.get(variable, "1")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise UsageError(None, f"{variable}={text[:40]} is not a number of processes", "unset it, or start with srun")
    return int(text)


def _precision(recipe: Recipe, kind: str) -> Precision:
    if recipe.training.precision == "float32" or kind != "cuda":
        return Precision()  # a CPU's bfloat16 may be slower than its float32
    half = "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return ImagePrecision(half, "cuda")  # type: ignore[arg-type]

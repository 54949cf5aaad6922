"""What a bundle's card says of the training that made it."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ldctpipe import __version__
from ldctpipe.data.store import TrainingStore
from ldctpipe.data.voxel_sizes import voxel_sizes
from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.models.cost import measure_cost
from ldctpipe.provenance import source_revision
from ldctpipe.recipes.networks import backbone_of
from ldctpipe.training.imagenet import ImageNetWeights
from ldctpipe.training.lineage import Ancestor
from ldctpipe.training.loop import TrainingLoop


def describe(
    loop: TrainingLoop,
    store: TrainingStore,
    weights: ImageNetWeights,
    start: Ancestor | None,
    *,
    stopped_because: str,
    compiled: dict[str, str],
) -> dict[str, Any]:
    """Return the card of a finished training."""
    return {
        "weights": {"parameters": sum(p.numel() for p in loop.algorithm.denoiser.parameters())},
        "cost": _cost(loop),
        "pretrained": weights.asked_for and start is None and backbone_of(loop.recipe) is not None,
        "training": _training(loop, stopped_because, compiled),
        "lineage": start.told if start else [],
        "data": {
            "patients": store.patients("train"),
            "validation_patients": store.patients("validation"),
            "slices": store.description["slices"],
            "voxels": voxel_sizes(store.slices.loc[store.rows_of("train")]),
            "store_sha256": store.fingerprint,
        },
        "normalization": loop.recipe.data.normalization.model_dump(),
        "versions": {
            "ldctpipe": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "revision": source_revision(),
    }


def _training(loop: TrainingLoop, stopped_because: str, compiled: dict[str, str]) -> dict[str, Any]:
    progress, plan = loop.progress, loop.recipe.training
    return {
        "iterations": progress.iteration,
        "stopped_because": stopped_because,
        "kept": plan.keep,
        "best_iteration": progress.best_iteration,
        "validation_loss": progress.best_loss,
        "validation": {
            "protocol": find_protocol(plan.validation_protocol).label,
            "loss": plan.validation_loss,
            "best": asdict(loop.best_validated) if loop.best_validated else None,
            "last": asdict(loop.validated) if loop.validated else None,
        },
        "rollbacks": progress.rollbacks,
        "seconds": round(progress.seconds, 1),
        "device": _device_name(loop.fabric.device),
        "devices": loop.fabric.world_size,
        "precision": loop.fabric.strategy.precision.precision,
        "compiled": compiled,
        "seed": loop.recipe.seed,
    }


def _cost(loop: TrainingLoop) -> dict[str, Any]:
    """Return what one whole slice costs the denoising network, on the device of the training."""
    image = loop.validation.network_input(0, loop.fabric.device)
    with loop.fabric.autocast():
        cost = measure_cost(loop.algorithm.denoiser, image)
    return {"slice": list(image.shape[1:]), "gflop": round(cost.gflop, 3), "seconds": round(cost.seconds, 4)}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"

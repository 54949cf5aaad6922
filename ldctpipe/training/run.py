"""From a training store and a recipe to a denoiser bundle."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from ldctpipe import __version__
from ldctpipe.data.sampling import PatchSampler
from ldctpipe.data.seeds import seed_for
from ldctpipe.data.store import TrainingStore, open_store
from ldctpipe.devices import pick_device
from ldctpipe.errors import InputError, UsageError
from ldctpipe.files import new_folder, refuse_occupied, sha256_of_text
from ldctpipe.losses.perceptual import PerceptualLoss
from ldctpipe.metrics.protocols import DEFAULT_PROTOCOL, find_protocol
from ldctpipe.progress import say, warn
from ldctpipe.provenance import source_revision
from ldctpipe.recipes.bundle import WEIGHTS, write_bundle
from ldctpipe.recipes.library import recipe_to_yaml
from ldctpipe.recipes.networks import build_critic, build_generator
from ldctpipe.recipes.schema import Recipe
from ldctpipe.training.checkpoints import CheckpointFolder
from ldctpipe.training.imagenet import ImageNetWeights
from ldctpipe.training.loop import TrainingLoop, TrainingProgress
from ldctpipe.training.scalars import ScalarLog
from ldctpipe.training.validation import Validation
from ldctpipe.training.wgan_gp import WganGp

LOG = "training.csv"


@dataclass(frozen=True)
class TrainingRequest:
    """What `ldctpipe train` was asked for."""

    store: Path
    out: Path
    recipe: Recipe
    checkpoints: Path
    pretrained: bool = True
    backbone_weights: Path | None = None
    device: str = "auto"
    threads: int | None = None
    resume: bool = False
    overwrite: bool = False
    overrides: tuple[str, ...] = ()  # what differs from the recipe of that name, as on the command line


def train_bundle(request: TrainingRequest) -> dict[str, Any]:
    """Train and write the bundle to `request.out`; return its card.

    Raises `InputError` for a store, weights or checkpoints that don't fit, `StoppedEarly` after a signal.
    """
    inputs = [path for path in (request.store, request.checkpoints, request.backbone_weights) if path]
    refuse_occupied(request.out, overwrite=request.overwrite, inputs=inputs)
    store = open_store(request.store)
    _require_patch_size(store, request.recipe)
    if not request.pretrained and request.backbone_weights:
        raise UsageError(None, "--no-pretrained and --backbone-weights contradict each other", "leave one of them out")
    weights = ImageNetWeights(request.pretrained, request.backbone_weights)
    recipe, notes = _without_what_is_missing(request.recipe, weights)
    if request.overrides:
        notes.append(f"Changed from the recipe {recipe.name}: {', '.join(request.overrides)}.")
    for note in notes:
        warn(note)
    fabric = _fabric(recipe, request.device, request.threads)
    loop = _assemble(request, store, recipe, weights, fabric)
    stopped_because = loop.run()
    loop.log.close()
    with new_folder(request.out, overwrite=request.overwrite, inputs=inputs) as folder:
        shutil.copyfile(loop.checkpoints.best(loop.progress.best_iteration), folder / WEIGHTS)
        shutil.copyfile(request.checkpoints / LOG, folder / LOG)
        card = {"notes": notes, "overrides": list(request.overrides), **_card(loop, store, weights, stopped_because)}
        write_bundle(folder, recipe, card)
    return card


def _require_patch_size(store: TrainingStore, recipe: Recipe) -> None:
    prepared = store.description["patch_size"]
    if prepared != recipe.data.patch_size:
        raise InputError(
            store.folder,
            f"was prepared for patches of {prepared}, recipe {recipe.name} takes {recipe.data.patch_size}",
            "run `ldctpipe prepare --patch-size` again",
        )


def _without_what_is_missing(recipe: Recipe, weights: ImageNetWeights) -> tuple[Recipe, list[str]]:
    """Return the recipe as it can be run, and a sentence on each thing left out."""
    notes = [recipe.caution] if recipe.caution else []
    if weights.asked_for:
        return recipe, notes
    notes.append("The encoder was trained from scratch (--no-pretrained), not from ImageNet weights.")
    if recipe.losses.perceptual > 0:
        notes.append("The perceptual loss was left out: it needs an ImageNet-pretrained network (--no-pretrained).")
        losses = recipe.losses.model_copy(update={"perceptual": 0.0})
        recipe = recipe.model_copy(update={"losses": losses})
    return recipe, notes


def _fabric(recipe: Recipe, device: str, threads: int | None) -> Fabric:
    kind = pick_device(device, threads).type
    mixed = recipe.training.precision == "mixed" and kind == "cuda"  # a CPU's bfloat16 may be slower than its float32
    half = "bf16-mixed" if mixed and torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    fabric = Fabric(accelerator=kind, devices=1, precision=half if mixed else "32-true")  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def _assemble(
    request: TrainingRequest, store: TrainingStore, recipe: Recipe, weights: ImageNetWeights, fabric: Fabric
) -> TrainingLoop:
    algorithm = _algorithm(recipe, weights, fabric)
    sampler = _sampler(store, recipe, fabric.device)
    window = find_protocol(DEFAULT_PROTOCOL).window_hu
    validation = Validation(store, recipe.training.validation_slices, recipe.data.normalization.as_map(), window)
    if validation.on_training_slices:
        warn("no slice is set apart for validation: the training slices themselves decide which weights are best")
    fingerprint = sha256_of_text(recipe_to_yaml(recipe) + store.fingerprint + weights.fingerprint)
    checkpoints = CheckpointFolder(request.checkpoints)
    state = _state_to_resume(checkpoints, request.resume, fingerprint)
    first = state["progress"]["iteration"] if state else 0
    log = ScalarLog(request.checkpoints / LOG, first, request.checkpoints / "tensorboard")
    loop = TrainingLoop(
        fabric, recipe, algorithm, sampler, validation, checkpoints, fingerprint, log, TrainingProgress()
    )
    if state:
        loop.restore(state)
        say(f"going on after iteration {first}")
    return loop


def _state_to_resume(checkpoints: CheckpointFolder, resume: bool, fingerprint: str) -> dict[str, Any] | None:
    if not resume:
        checkpoints.require_empty()
        return None
    state = checkpoints.newest()
    if state and state["fingerprint"] != fingerprint:
        raise InputError(
            checkpoints.folder,
            "holds checkpoints of a training with another recipe, seed, store or starting weights",
            "name another --checkpoints folder, or give the arguments of that training",
        )
    return state


def _algorithm(recipe: Recipe, weights: ImageNetWeights, fabric: Fabric) -> WganGp:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(recipe.seed, "weights"))
        generator, critic = build_generator(recipe), build_critic(recipe)
    for network in (generator, critic):
        network.to(memory_format=torch.channels_last)  # convolutions run up to twice as fast on CPU and tensor cores
    perceptual = None
    if weights.asked_for:
        weights.load_into(generator.encoder, recipe.generator.backbone)  # type: ignore[arg-type]
        if recipe.losses.perceptual > 0:
            perceptual = PerceptualLoss(recipe.losses.perceptual_backbone, recipe.losses.perceptual_stages)
            weights.load_into(perceptual.network, recipe.losses.perceptual_backbone)
            perceptual.to(fabric.device)
    if recipe.training.batch_norm == "frozen":
        _freeze_batch_norm(generator.encoder)  # type: ignore[arg-type]
    rates = recipe.optimizer
    generator, generator_optimizer = fabric.setup(
        generator, _optimizer(generator, recipe, rates.generator_learning_rate)
    )
    critic, critic_optimizer = fabric.setup(critic, _optimizer(critic, recipe, rates.critic_learning_rate))
    mixing = torch.Generator().manual_seed(seed_for(recipe.seed, "gradient penalty"))
    return WganGp(fabric, recipe, generator, critic, generator_optimizer, critic_optimizer, perceptual, mixing)


def _optimizer(network: nn.Module, recipe: Recipe, rate: float) -> torch.optim.Optimizer:
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer.name]
    return kind(network.parameters(), lr=rate, betas=recipe.optimizer.betas, weight_decay=recipe.optimizer.weight_decay)


def _freeze_batch_norm(encoder: nn.Module) -> None:
    """Keep the encoder's batch norm at its loaded statistics, whatever mode the network is put into."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign,misc,assignment]


def _sampler(store: TrainingStore, recipe: Recipe, device: torch.device) -> PatchSampler:
    return PatchSampler(
        store,
        device,
        images_per_batch=recipe.data.images_per_batch,
        patches_per_image=recipe.data.patches_per_image,
        patch_size=recipe.data.patch_size,
        normalization=recipe.data.normalization.as_map(),
        augmentation_choices=recipe.data.augmentation.choices,
        rotation_deg=recipe.data.augmentation.rotation_deg,
        intensity_factors=recipe.data.augmentation.intensity_factors,
        position_seed=seed_for(recipe.seed, "patches"),
        augmentation_seed=seed_for(recipe.seed, "augmentation"),
        dose_seed=seed_for(recipe.seed, "doses"),
    )


def _card(
    loop: TrainingLoop,
    store: TrainingStore,
    weights: ImageNetWeights,
    stopped_because: str,
) -> dict[str, Any]:
    progress = loop.progress
    return {
        "weights": {"parameters": sum(p.numel() for p in loop.algorithm.generator.parameters())},
        "pretrained": weights.asked_for,
        "training": {
            "iterations": progress.iteration,
            "stopped_because": stopped_because,
            "best_iteration": progress.best_iteration,
            "validation_loss": progress.best_loss,
            "seconds": round(progress.seconds, 1),
            "device": _device_name(loop.fabric.device),
            "precision": loop.fabric._precision.precision,
            "seed": loop.recipe.seed,
        },
        "data": {
            "patients": store.patients("train"),
            "validation_patients": store.patients("validation"),
            "slices": store.description["slices"],
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


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"

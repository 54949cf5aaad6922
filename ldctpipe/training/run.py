"""From a training store and a recipe to a denoiser bundle."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from ldctpipe.data.store import TrainingStore, open_store
from ldctpipe.errors import ExitCode, InputError, UsageError
from ldctpipe.files import new_folder, refuse_occupied, sha256_of_text
from ldctpipe.losses.image_terms import TERMS as IMAGE_TERMS
from ldctpipe.progress import say, warn
from ldctpipe.recipes.bundle import WEIGHTS, read_bundle, write_bundle
from ldctpipe.recipes.networks import backbone_of
from ldctpipe.recipes.schema import Recipe
from ldctpipe.training.assembly import build_algorithm, build_sampler, build_validation, compile_networks
from ldctpipe.training.card import describe
from ldctpipe.training.checkpoints import CheckpointFolder, write_weights
from ldctpipe.training.imagenet import ImageNetWeights
from ldctpipe.training.launch import launch_fabric
from ldctpipe.training.lineage import Ancestor, ancestor
from ldctpipe.training.loop import TrainingLoop
from ldctpipe.training.memory import is_out_of_memory, told_how_to_save_memory
from ldctpipe.training.previews import Previews
from ldctpipe.training.randomness import Randomness
from ldctpipe.training.ranks import failing_together, leave
from ldctpipe.training.scalars import ScalarLog

LOG = "training.csv"
_WITH_LOSS_OF_THEIR_OWN = ("cold_diffusion", "strength_tuning")  # the squared error


@dataclass(frozen=True)
class TrainingRequest:
    """What `ldctpipe train` was asked for."""

    store: Path
    out: Path
    recipe: Recipe
    checkpoints: Path
    pretrained: bool = True
    backbone_weights: Path | None = None
    perceptual_weights: Path | None = None
    init: Path | None = None  # the bundle to start from
    device: str = "auto"
    devices: int = 1  # on each node
    nodes: int = 1
    threads: int | None = None
    compiled: bool = False  # try torch.compile
    previews: int = 20  # pictures over the run
    explain: bool = False  # with Grad-CAM and attention maps
    resume: bool = False
    overwrite: bool = False
    overrides: tuple[str, ...] = ()  # what differs from the recipe of that name, as on the command line


def train_bundle(request: TrainingRequest) -> dict[str, Any]:
    """Train and write the bundle to `request.out`; return its card. Of several ranks, all but the first exit here.

    Raises `InputError` for a store, weights or checkpoints that don't fit, `StoppedEarly` after a signal.
    """
    given = (request.store, request.checkpoints, request.backbone_weights, request.perceptual_weights, request.init)
    inputs = [path for path in given if path]
    refuse_occupied(request.out, overwrite=request.overwrite, inputs=inputs)
    store = open_store(request.store).with_patches_of(request.recipe.data.patch_size)
    weights = _imagenet_weights(request)
    start = ancestor(read_bundle(request.init), request.recipe) if request.init else None
    recipe, notes = _without_what_is_missing(request.recipe, weights, start)
    if request.overrides:
        notes.append(f"Changed from the recipe {recipe.name}: {', '.join(request.overrides)}.")
    fabric = launch_fabric(recipe, request.device, request.threads, request.devices, request.nodes)
    if fabric.is_global_zero:
        for note in notes:
            warn(note)
    with failing_together(fabric), told_how_to_save_memory(recipe, fabric.device):
        loop, compiled = _assemble(request, store, recipe, weights, start, fabric)
        stopped_because = loop.run()
        leave(fabric)
    if loop.log is None:  # not the first rank
        raise SystemExit(ExitCode.DONE)
    loop.log.close()
    story = describe(loop, store, weights, start, stopped_because=stopped_because, compiled=compiled)
    card = {"notes": notes, "overrides": list(request.overrides), **story}
    with new_folder(request.out, overwrite=request.overwrite, inputs=inputs) as folder:
        if recipe.training.keep == "best":
            shutil.copyfile(loop.checkpoints.best(loop.progress.best_iteration), folder / WEIGHTS)
        else:
            write_weights(folder / WEIGHTS, loop.algorithm.denoiser.state_dict())
        shutil.copyfile(request.checkpoints / LOG, folder / LOG)
        write_bundle(folder, recipe, card)
    return card


def _imagenet_weights(request: TrainingRequest) -> ImageNetWeights:
    files = {"--backbone-weights": request.backbone_weights, "--perceptual-weights": request.perceptual_weights}
    for option, file in files.items():
        if file and not request.pretrained:
            raise UsageError(None, f"--no-pretrained and {option} contradict each other", "leave one of them out")
    return ImageNetWeights(request.pretrained, *files.values())


def _without_what_is_missing(
    recipe: Recipe, weights: ImageNetWeights, start: Ancestor | None
) -> tuple[Recipe, list[str]]:
    """Return the recipe as it can be run, and a sentence on each thing left out."""
    notes = [recipe.caution] if recipe.caution else []
    if start:
        notes.append(f"Training started from the bundle {start.bundle.name} ({start.bundle.weights_sha256[:12]}…).")
    if weights.asked_for:
        return recipe, notes
    backbone = backbone_of(recipe)
    if backbone and recipe.training.batch_norm == "frozen" and not start:
        fault = (
            "training.batch_norm=frozen keeps the statistics of ImageNet weights, and --no-pretrained leaves those out"
        )
        raise UsageError(None, fault, "take training.batch_norm=batch, or give weights")
    if backbone and not start:
        notes.append("The encoder was trained from scratch (--no-pretrained), not from ImageNet weights.")
    if recipe.losses.perceptual > 0:
        notes.append("The perceptual loss was left out: it needs an ImageNet-pretrained network (--no-pretrained).")
        recipe = recipe.model_copy(update={"losses": recipe.losses.model_copy(update={"perceptual": 0.0})})
        if not _holds_to_images(recipe):
            notes.append(_nothing_but_a_critic(recipe))
        elif _critic_leads(recipe):
            notes.append(_hardly_held(recipe))
    return recipe, notes


def _nothing_but_a_critic(recipe: Recipe) -> str:
    """Return the sentence for the card, or raise `UsageError` where there is not even a critic."""
    if recipe.losses.adversarial == 0:
        fault = f"recipe {recipe.name} has no loss but the perceptual one, which --no-pretrained leaves out"
        raise UsageError(None, fault, "give --perceptual-weights FILE, or another term, as --set losses.pixel=1")
    return (
        "Nothing compared the images with full-dose ones: the perceptual loss that did was left out, and the critic "
        "alone may change or invent structure. --perceptual-weights FILE or --set losses.pixel=1 holds them to their "
        "target."
    )


def _critic_leads(recipe: Recipe) -> bool:
    """Tell whether L1 alone is left to hold images to their target, and pulls less at a patch than a WGAN's critic.

    The gradient penalty holds the critic's gradient near 1 for a patch; that of a mean absolute error is 1/side.
    """
    losses = recipe.losses
    alone = not any(getattr(losses, term) > 0 for term in IMAGE_TERMS if term != "pixel")
    return recipe.algorithm.name == "wgan_gp" and alone and losses.adversarial * recipe.data.patch_size > losses.pixel


def _hardly_held(recipe: Recipe) -> str:
    losses = recipe.losses
    ratio = losses.adversarial * recipe.data.patch_size / losses.pixel
    return (
        f"Without the perceptual loss, an adversarial weight of {losses.adversarial:g} and an L1 weight of "
        f"{losses.pixel:g} can't work: at a patch the critic pulls {ratio:.0f} times as hard as L1 and ruins the "
        "image. Give ImageNet weights, or --set losses.adversarial=0.001."
    )


def _holds_to_images(recipe: Recipe) -> bool:
    """Tell whether a term compares the denoised image with its target or, in a cycle, with its input."""
    own = recipe.algorithm.name in _WITH_LOSS_OF_THEIR_OWN or getattr(recipe.algorithm, "cycle", 0) > 0
    return own or any(getattr(recipe.losses, term) > 0 for term in IMAGE_TERMS)


def _assemble(
    request: TrainingRequest,
    store: TrainingStore,
    recipe: Recipe,
    weights: ImageNetWeights,
    start: Ancestor | None,
    fabric: Fabric,
) -> tuple[TrainingLoop, dict[str, str]]:
    algorithm = build_algorithm(recipe, weights, fabric, start)
    sampler = build_sampler(store, recipe, fabric)
    validation = build_validation(store, recipe, algorithm.perceptual)
    if validation.on_training_slices and fabric.is_global_zero:
        warn("no slice is set apart for validation: the training slices themselves decide which weights are best")
    networks = backbone_of(recipe), recipe.losses.perceptual_network
    origin = weights.fingerprint(*networks) + (start.bundle.weights_sha256 if start else "")
    fingerprint = sha256_of_text(_what_decides(recipe) + store.fingerprint + origin)
    checkpoints = CheckpointFolder(request.checkpoints)
    state = _state_to_resume(checkpoints, request.resume, fingerprint, fabric)
    fabric.barrier()  # nobody writes before everybody has looked
    log, previews = None, None
    if fabric.is_global_zero:
        checkpoints.clear_leftovers()
        first = state["progress"]["iteration"] if state else 0
        log = ScalarLog(request.checkpoints / LOG, first, request.checkpoints / "tensorboard")
        folder = request.checkpoints / "previews"
        previews = Previews(folder, validation, recipe, log, count=request.previews, explain=request.explain)
    randomness = Randomness(recipe.seed, fabric, sampler, algorithm)
    loop = TrainingLoop(
        fabric, recipe, algorithm, sampler, validation, checkpoints, fingerprint, log, previews, randomness
    )
    compiled = compile_networks(algorithm, sampler) if request.compiled and _can_compile(recipe, fabric) else {}
    randomness.begin()
    if state:
        _restore(loop, state)
        say(f"going on after iteration {loop.progress.iteration}")
    return loop, compiled


def _restore(loop: TrainingLoop, state: dict[str, Any]) -> None:
    """Continue from `state`; raises `InputError` where a checkpoint was altered, whatever in it doesn't fit."""
    try:
        loop.restore(state)
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        fault = "holds a checkpoint that does not fit its own training: it was altered or damaged"
        raise InputError(loop.checkpoints.folder, fault, "remove the newest iteration-*.pt and resume again") from error


def _what_decides(recipe: Recipe) -> str:
    """Return the recipe as text, without what leaves the weights of each iteration as they are."""
    told = recipe.model_dump(mode="json")
    for name in ("accumulation", "checkpoint_every", "keep", "log_every"):
        del told["training"][name]
    return json.dumps(told, sort_keys=True)


def _can_compile(recipe: Recipe, fabric: Fabric) -> bool:
    """Tell whether compiling is worth a trial; a rank that found otherwise than the rest would leave them waiting."""
    if recipe.training.accumulation == 1 and fabric.world_size == 1:
        return True
    warn("--compile has no effect with several devices or with training.accumulation above 1")
    return False


def _state_to_resume(
    checkpoints: CheckpointFolder, resume: bool, fingerprint: str, fabric: Fabric
) -> dict[str, Any] | None:
    if not resume:
        checkpoints.require_empty()
        return None
    state = checkpoints.load(fabric)
    if state and state["fingerprint"] != fingerprint:
        raise InputError(
            checkpoints.folder,
            "holds checkpoints of a training with another recipe, seed, store or starting weights",
            "name another --checkpoints folder, or give the arguments of that training",
        )
    return state

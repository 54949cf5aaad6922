"""From a recipe to the parts of a training: networks, algorithm, sampler, validation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ldctpipe.data.sampling import PatchSampler
from ldctpipe.data.seeds import seed_for
from ldctpipe.data.store import TrainingStore
from ldctpipe.losses.image_terms import ImageLoss
from ldctpipe.losses.perceptual import PerceptualLoss
from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.models.full_precision import keep_float32_when_compiled, without_autocast
from ldctpipe.models.image_layers import see_in_float32
from ldctpipe.models.memory_format import to_channels_last
from ldctpipe.progress import warn
from ldctpipe.recipes.networks import backbone_of, build_critic, build_generator
from ldctpipe.recipes.schema import Recipe
from ldctpipe.training.algorithm import Algorithm, Parts
from ldctpipe.training.batch_norm import freeze, share_over_ranks
from ldctpipe.training.cold_diffusion import ColdDiffusion
from ldctpipe.training.compilation import compile_if_faster
from ldctpipe.training.cycle import Cycle
from ldctpipe.training.dual_domain import DualDomain
from ldctpipe.training.greedy_cascade import GreedyCascade
from ldctpipe.training.imagenet import ImageNetWeights
from ldctpipe.training.lineage import Ancestor
from ldctpipe.training.masked_pretraining import MaskedPretraining
from ldctpipe.training.noise_spectrum import NoiseSpectrum
from ldctpipe.training.recomputation import recompute
from ldctpipe.training.regression import Regression
from ldctpipe.training.strength_tuning import StrengthTuning
from ldctpipe.training.validation import Validation, ValidationLoss
from ldctpipe.training.wgan_gp import WganGp

_ALGORITHMS: dict[str, type[Algorithm]] = {
    "cold_diffusion": ColdDiffusion,
    "cycle": Cycle,
    "dual_domain": DualDomain,
    "greedy_cascade": GreedyCascade,
    "masked_pretraining": MaskedPretraining,
    "noise_spectrum": NoiseSpectrum,
    "regression": Regression,
    "strength_tuning": StrengthTuning,
    "wgan_gp": WganGp,
}

_COLOURS = 3  # channels that ImageNet networks take


def build_algorithm(
    recipe: Recipe, weights: ImageNetWeights, fabric: Fabric, start: Ancestor | None = None
) -> Algorithm:
    """Return the recipe's algorithm on Fabric's device, its networks from ImageNet weights, a bundle or the seed."""
    makers = {"generator": build_generator, "critic": build_critic}
    made: dict[str, int] = dict.fromkeys(makers, 0)

    def new(kind: str) -> nn.Module:
        """Return one more network of a kind, each with random weights of its own."""
        made[kind] += 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(recipe.seed, "weights", kind, made[kind]))
            network = makers[kind](recipe)
        return _ready(network, kind, recipe, fabric)

    generator = new("generator")
    backbone = backbone_of(recipe)
    if start is not None:
        start.load_into(generator)
    elif weights.asked_for and backbone:
        weights.load_into_encoder(generator.encoder, backbone)  # type: ignore[arg-type]
    if recipe.training.batch_norm == "frozen" and backbone:
        freeze(generator.encoder)  # type: ignore[arg-type]
    perceptual = _perceptual(recipe, weights)
    parts = Parts(
        fabric=fabric,
        recipe=recipe,
        generator=generator,
        critic=new("critic") if recipe.critic else None,
        image_loss=ImageLoss(recipe.losses.model_dump(), perceptual),
        perceptual=perceptual,
        new_generator=lambda: new("generator"),
        new_critic=lambda: new("critic"),
    )
    return _ALGORITHMS[recipe.algorithm.name](parts)


def _ready(network: nn.Module, kind: str, recipe: Recipe, fabric: Fabric) -> nn.Module:
    """Return a new network as it is trained: a generator sees the image in float32, a critic computes in it.

    Small differences of images are all that a critic judges, and its penalty is computed in float32 anyway.
    """
    to_channels_last(network)
    if kind == "critic":
        without_autocast(see_in_float32(network, 1, recipe.data.patch_size))
    else:
        see_in_float32(network, 2 * recipe.data.context + 1)
    if recipe.training.accumulation > 1 and hasattr(network, "segments"):
        recompute(network.segments())  # type: ignore[operator]
    return share_over_ranks(network, fabric.device) if fabric.world_size > 1 else network


def _perceptual(recipe: Recipe, weights: ImageNetWeights) -> PerceptualLoss | None:
    losses = recipe.losses
    if not weights.asked_for or losses.perceptual == 0:
        return None
    perceptual = PerceptualLoss(
        losses.perceptual_backbone,
        losses.perceptual_stages,
        losses.perceptual_layers,
        losses.perceptual_distance,
        losses.perceptual_scale,
        losses.perceptual_input,
    )
    weights.load_into_perceptual(perceptual.network, losses.perceptual_backbone, backbone_of(recipe))
    to_channels_last(perceptual)
    see_in_float32(perceptual.network, _COLOURS)
    return perceptual


def compile_networks(
    algorithm: Algorithm, sampler: PatchSampler, compiler: Callable[..., str | None] = compile_if_faster
) -> dict[str, str]:
    """Compile what gains from it and return how, by network. The critic stays eager: its penalty is derived twice.

    That is for algorithms in which the generator's call is the whole of its part.
    """
    on_images = getattr(algorithm.recipe.algorithm, "domain", "image") == "image"
    if not (isinstance(algorithm, (Regression, WganGp)) and on_images):
        warn(f"--compile has no effect with algorithm {algorithm.recipe.algorithm.name}")
        return {}
    low_dose, full_dose = sampler.batch()
    generator = algorithm.networks()["generator"]

    def denoise() -> list[Tensor]:
        with torch.no_grad(), algorithm.fabric.autocast():
            before_critic = generator(low_dose)
        output = algorithm.generator(low_dose)
        algorithm.generator.zero_grad(set_to_none=True)
        algorithm.fabric.backward((output - full_dose).abs().mean())
        return [before_critic, output, *(p.grad for p in generator.parameters() if p.grad is not None)]

    keep_float32_when_compiled(generator)
    ways = {"generator": compiler("generator", generator, denoise)}
    if algorithm.perceptual is not None:
        perceptual = algorithm.perceptual

        def compare() -> list[Tensor]:
            image = low_dose.clone().requires_grad_()
            distance = perceptual(image, full_dose)
            distance.backward()
            return [distance, image.grad]  # type: ignore[list-item]

        keep_float32_when_compiled(perceptual)

        ways["perceptual network"] = compiler("perceptual network", perceptual, compare)
    return {name: way for name, way in ways.items() if way}


def build_sampler(store: TrainingStore, recipe: Recipe, fabric: Fabric) -> PatchSampler:
    """Return the sampler of this rank's share of each batch; its streams start when the training does."""
    return PatchSampler(
        store,
        fabric.device,
        images_per_batch=recipe.data.images_per_batch // fabric.world_size,
        patches_per_image=recipe.data.patches_per_image,
        patch_size=recipe.data.patch_size,
        normalization=recipe.data.normalization.as_map(),
        augmentation_choices=recipe.data.augmentation.choices,
        rotation_deg=recipe.data.augmentation.rotation_deg,
        intensity_factors=recipe.data.augmentation.intensity_factors,
        position_seed=0,
        augmentation_seed=0,
        dose_seed=0,
        context=recipe.data.context,
        paired=recipe.data.pairing == "paired",
        drawing=recipe.data.drawing,
    )


def build_validation(store: TrainingStore, recipe: Recipe, perceptual: PerceptualLoss | None) -> Validation:
    """Return the recipe's validation on fixed slices of the store."""
    plan = recipe.training
    protocol = find_protocol(plan.validation_protocol)
    return Validation(
        store,
        plan.validation_slices,
        recipe.data.normalization.as_map(),
        protocol,
        _validation_loss(recipe, perceptual),
        recipe.data.context,
    )


def _validation_loss(recipe: Recipe, perceptual: PerceptualLoss | None) -> ValidationLoss:
    weights = recipe.losses

    def l1(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs().mean()

    def l1_and_perceptual(output: Tensor, target: Tensor) -> Tensor:
        # not the call, which may be compiled for patches
        distance = perceptual.forward(output, target) if perceptual is not None else 0.0
        return weights.pixel * l1(output, target) + weights.perceptual * distance

    return {"l1": l1, "l1_and_perceptual": l1_and_perceptual}[recipe.training.validation_loss]

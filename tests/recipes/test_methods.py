"""Every shipped recipe: the published number of parameters, and that it trains and denoises."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from ldctpipe.recipes.library import load_recipe, shipped_names
from ldctpipe.recipes.listing import described, listed_recipes

B0 = "tf_efficientnetv2_b0.in1k"
CONV_CRITIC = ("critic.channels=[4,4,8,8,8,8]", "critic.hidden=8")
PATCH_GAN = ("critic.channels=4", "critic.layers=2")
EFFICIENTNET = (
    f"generator.backbone={B0}", f"losses.perceptual_backbone={B0}", "generator.decoder_channels=[8,8,8,8,8]",
    "algorithm.critic_updates=1", *CONV_CRITIC,
)  # fmt: skip
UFORMER = ("generator.embed_dim=4", "generator.depths=[1,1,1,1,1,1,1,1,1]", "generator.heads=[1,1,1,1,1,1,1,1,1]")
PATCH_32 = "data.patch_size=32"
FILTER = (PATCH_32, "generator.strength=9.0")  # no strength that would be chosen
DIFFUSION = (PATCH_32, "algorithm.average_every=1")


@dataclass(frozen=True)
class Row:
    """What is known of a recipe. Counts are of trainable parameters; a Keras total has running statistics besides."""

    generator: int
    source: str  # of the count
    status: str = "published"
    critic: int | None = None
    small: tuple[str, ...] = ()  # overrides that let it train in a second


ARITHMETIC = "arithmetic over the published layers; none is printed"
ROWS = {
    "bilateral": Row(0, "nothing is trained", small=FILTER),
    "bm3d": Row(0, "nothing is trained", small=FILTER),
    "cagan": Row(
        11_529_298, "this project's own layers: none is known", "reconstruction", 2_762_689,
        (PATCH_32, "generator.channels=4", "generator.blocks=2", *PATCH_GAN),
    ),
    "cnn10-cascade": Row(
        334_721 + 2 * (334_721 + 576), "Ataei 2020: 335,873 a level as Keras counts, 1,152 of them running statistics",
        "reconstruction", small=(PATCH_32,),
    ),
    "corediff": Row(4_825_953, "the authors' code instantiated", small=DIFFUSION),
    "corediff-1": Row(4_825_953, "the authors' code instantiated", "variant", small=DIFFUSION),
    "cpce-2d": Row(
        62_016, "arithmetic over the authors' code", status="reconstruction", critic=17_923_521,
        small=(PATCH_32, "generator.channels=4", "algorithm.critic_updates=1", *CONV_CRITIC),
    ),
    "cpce-3d": Row(
        117_888, "arithmetic over the authors' code", status="reconstruction", critic=17_923_521,
        small=(PATCH_32, "generator.channels=4", "algorithm.critic_updates=1", *CONV_CRITIC),
    ),
    "ct-mamba": Row(
        50_807_568, "the authors' code instantiated: 50,826,263, less 18,695 that never act",
        small=(
            "generator.channels=4", "generator.tile=16", "generator.states=2", "data.patch_size=16",
            "data.images_per_batch=1",
        ),
    ),
    "cyclegan": Row(
        11_370_881, "the authors' code, with batch norm; 11,365,633 with the published instance norm",
        "variant", 2_762_689, (PATCH_32, "generator.channels=4", "generator.blocks=2", *PATCH_GAN),
    ),
    "cyclegan-kang": Row(
        4_139_905, "arithmetic over the paper; 2,069,633 in the code, which ties weights", critic=2_763_585,
        small=(PATCH_32, "generator.channels=4", *PATCH_GAN),
    ),
    "drl": Row(224_961, "Ataei 2020: 225,601 as Keras counts, 640 of them running statistics", small=(PATCH_32,)),
    "drl-cascade-2": Row(2 * 224_961, "twice that of drl", "reconstruction", small=(PATCH_32,)),
    "drl-cascade-3": Row(3 * 224_961, "three times that of drl", "reconstruction", small=(PATCH_32,)),
    "drl-edge": Row(
        231_416, "arithmetic over the author's code; 232,056 as Keras counts", "reconstruction", small=(PATCH_32,)
    ),
    "drunet": Row(
        32_638_656, "the authors' grey network", "variant",
        small=(PATCH_32, "generator.channels=[4,8]", "generator.blocks=1"),
    ),
    "du-gan": Row(
        185_569, "the authors' code instantiated", critic=57_213_839,
        small=(PATCH_32, "generator.channels=4", "critic.channels=4", "critic.levels=2"),
    ),
    "ircnn": Row(186_497, "the authors' 185,857 with batch norm merged in", "variant", small=(PATCH_32,)),
    "lomae": Row(
        903_722, "SwinIR's lightweight body: 910,152 with its own ends", "reconstruction",
        small=(PATCH_32, "generator.channels=6", "generator.blocks=[1,1]", "generator.heads=2"),
    ),
    "nafnet": Row(
        29_158_561, "published 29.16 M for three colours", small=(
            PATCH_32, "generator.channels=4", "generator.encoder_blocks=[1,1]", "generator.middle_blocks=1",
            "generator.decoder_blocks=[1,1]",
        ),
    ),
    "nlm": Row(0, "nothing is trained", small=FILTER),
    "perceptual-attention-cyclegan": Row(
        9_022_246, "this project's own layers: none is known", "reconstruction", 2_763_585,
        (PATCH_32, "generator.channels=4", "generator.levels=3", "generator.blocks=1", *PATCH_GAN),
    ),
    "q-ae": Row(49_818, "three public implementations", small=(PATCH_32,)),
    "red-cnn": Row(1_848_865, "ldct-benchmark instantiated", small=(PATCH_32, "generator.channels=4")),
    "resnet": Row(
        1_843_329, "ldct-benchmark instantiated",
        small=(PATCH_32, "generator.channels=8", "generator.blocks=1", "generator.groups=2"),
    ),
    "restormer": Row(
        26_109_076, "public counts of its grey denoiser", small=(
            PATCH_32, "generator.channels=8", "generator.blocks=[1,1,1,1]", "generator.refinement_blocks=1",
        ),
    ),
    "scunet": Row(
        17_943_768, "the authors' code instantiated",
        small=(PATCH_32, "generator.channels=8", "generator.head_channels=4", "generator.blocks=[1,1,1,1,1,1,1]"),
    ),
    "smgan-2d": Row(
        56_097, ARITHMETIC, "reconstruction", 17_923_521, (PATCH_32, "algorithm.critic_updates=1", *CONV_CRITIC)
    ),
    "smgan-3d": Row(
        111_969, ARITHMETIC, "reconstruction", 17_923_521,
        (PATCH_32, "generator.channels=4", "algorithm.critic_updates=1", *CONV_CRITIC),
    ),
    "tv": Row(0, "nothing is trained", small=FILTER),
    "uformer-b": Row(50_879_216, "the authors' code instantiated for one channel", small=(PATCH_32, *UFORMER)),
    "uformer-s": Row(20_749_467, "the authors' code instantiated for one channel", small=(PATCH_32, *UFORMER)),
    "uformer-t": Row(5_290_987, "the authors' code instantiated for one channel", small=(PATCH_32, *UFORMER)),
    "wavelet-residual": Row(
        4_160_650, ARITHMETIC, "variant", small=(PATCH_32, "generator.channels=8", "generator.modules=2")
    ),
    "wavelet-residual-adam": Row(
        4_160_650, ARITHMETIC, "variant", small=(PATCH_32, "generator.channels=8", "generator.modules=2")
    ),
    "wgan-gp-efflite0": Row(3_647_354, "this project's decoder on timm's encoder", "variant", 149_241, EFFICIENTNET),
    "wgan-gp-efflite0-tuned": Row(
        3_647_354, "this project's decoder on timm's encoder", "variant", 149_241, EFFICIENTNET
    ),
    "wgan-gp-effnetv2": Row(
        56_397_126, "this project's decoder on timm's encoder", critic=17_923_521, small=EFFICIENTNET
    ),
    "wgan-gp-effnetv2-abstract": Row(
        56_397_126, "this project's decoder on timm's encoder", "variant", 17_923_521, EFFICIENTNET
    ),
    "wgan-gp-effnetv2-balanced": Row(
        56_397_126, "this project's decoder on timm's encoder", "variant", 17_923_521, EFFICIENTNET
    ),
    "wgan-gp-effnetv2-deep-skips": Row(
        56_359_110, "this project's decoder on timm's encoder", "variant", 17_923_521, EFFICIENTNET
    ),
    "wgan-gp-effnetv2-literal": Row(
        56_397_126, "this project's decoder on timm's encoder", "variant", 17_923_521, EFFICIENTNET
    ),
    "wgan-gp-effnetv2-tuned": Row(
        55_179_231, "this project's decoder on timm's encoder", "variant", 17_923_521, EFFICIENTNET
    ),
    "wgan-gp-effnetv2-mini": Row(6_188_106, "this project's own", "variant", 149_241, EFFICIENTNET),
    "wgan-vgg": Row(
        56_097, "public ports instantiated", "reconstruction", critic=7_699_905,
        small=("data.patch_size=64", "generator.channels=4", "algorithm.critic_updates=1", *CONV_CRITIC),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", shipped_names())
def test_it_has_the_published_number_of_parameters(name):
    row, recipe = ROWS[name], described(name)

    assert (recipe["parameters"], recipe["critic_parameters"]) == (row.generator, row.critic), row.source
    assert recipe["status"] == row.status
    (listed,) = (each for each in listed_recipes() if each["name"] == name)
    assert listed == recipe, "`make listing` writes the list anew"


@pytest.mark.parametrize("name", shipped_names())
def test_what_is_no_publication_says_so(name):
    recipe = load_recipe(name)

    assert recipe.remark and recipe.source and recipe.title
    assert recipe.caution or recipe.status != "reconstruction"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """ImageNet weights that are random numbers, for every network that recipes ask for."""
    from safetensors.torch import save_file

    from ldctpipe.losses.perceptual import PerceptualLoss
    from ldctpipe.training.imagenet import ImageNetWeights

    folder = tmp_path_factory.mktemp("imagenet")
    layers = {
        "vgg16.tv_in1k": {"layers": ["features.22"]}, "vgg19.tv_in1k": {"layers": ["features.35"]},
        "resnet50.tv_in1k": {"stages": [0, 1, 2, 3, 4]}, B0: {"stages": [0, 1, 2, 3, 4]},
    }  # fmt: skip
    for backbone, features in layers.items():
        network = PerceptualLoss(backbone, **features).network
        save_file(
            {name: value.contiguous() for name, value in network.state_dict().items()},
            folder / f"{backbone}.safetensors",
        )
    return ImageNetWeights(True, folder, folder)


@pytest.mark.parametrize("name", shipped_names())
def test_it_trains_and_denoises(name, weights):
    from ldctpipe.training.assembly import build_algorithm
    from ldctpipe.training.launch import launch_fabric

    if name == "bm3d":
        pytest.importorskip("bm3d", reason="its licence allows non-commercial use only, so it is not installed")
    common = ("data.images_per_batch=2", "data.patches_per_image=1", "training.iterations=2")
    recipe = load_recipe(name, [*common, *ROWS[name].small])
    torch.manual_seed(0)
    algorithm = build_algorithm(recipe, weights, launch_fabric(recipe, "cpu"))
    before = {key: value.clone() for key, value in algorithm.denoiser.state_dict().items()}

    drawn: list[int] = []

    def next_batch():
        low_dose, full_dose = made_batch(recipe)
        drawn.append(low_dose.numel())
        return low_dose, full_dose

    for iteration in range(2):
        scalars = algorithm.step(next_batch, 1.0, iteration, measure_gradients=True)

    assert sum(drawn) == 2 * recipe.pixels_an_iteration
    assert all(torch.isfinite(value).all() for value in scalars.values()), scalars
    after = algorithm.denoiser.state_dict()
    assert any(not torch.equal(after[key], value) for key, value in before.items()), "nothing was learned"
    depth = 2 * recipe.data.context + 1
    with torch.no_grad():
        image = algorithm.denoiser.eval()(torch.rand(1, depth, 40, 48))
    assert image.shape == (1, 1, 40, 48)
    assert torch.isfinite(image).all()


def made_batch(recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch as the sampler gives them: smooth images, with noise in the low dose."""
    count, side = recipe.data.batch_size, recipe.data.patch_size
    full = torch.nn.functional.interpolate(torch.rand(count, 1, 4, 4), size=(side, side), mode="bicubic").clamp(0, 1)
    depth = 2 * recipe.data.context + 1
    return (full + 0.05 * torch.randn(count, depth, side, side)).clamp(0, 1), full

"""What a recipe may say. Every number of a training run stands here by name, and in a YAML file by value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ldctpipe.volumes.normalization import HuNormalization

# More than any machine has memory or time for; a larger number is a typing error or an attack.
Count = Annotated[int, Field(gt=0, le=10**12)]
BatchCount = Annotated[int, Field(gt=0, le=10**6)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
LearningRate = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _holds_no_truth_value(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for name, value in values.items():
                if isinstance(value, bool):  # pydantic would take it for the number 1 or 0
                    raise ValueError(f"{name} should be a number or a text, not {str(value).lower()}")
        return values


class Network(_Section):
    """A class of `ldctpipe.models`, as "file.Class", and its options, which `recipes.networks` checks against it."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    network: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[A-Z][A-Za-z0-9]*$")]

    @model_validator(mode="before")
    @classmethod
    def _holds_no_truth_value(cls, values: Any) -> Any:
        return values  # some options are truth values; `recipes.networks` tells which

    @property
    def options(self) -> dict[str, Any]:
        """What stands beside `network`."""
        return dict(self.model_extra or {})


class Averaged(_Section):
    """What denoises, is validated and gets into the bundle may be a moving average of the network's weights."""

    average_decay: Fraction = 0.0  # 0 for none
    average_every: Count = 1
    average_from: Fraction = 0.0  # of the iterations


class Regression(Averaged):
    """One network, trained to give the full dose."""

    name: Literal["regression"]
    domain: Literal["image", "bands"] = "image"  # of the losses; "bands" for a network that corrects those of a wavelet


class NoiseSpectrum(_Section):
    """Regression with two terms on learned profiles of the noise that is taken away and of the true one."""

    name: Literal["noise_spectrum"]
    profile: Weight  # of the L1 distance of both profiles
    correlation: Weight  # of 1 − Pearson's correlation of both
    begins: Fraction  # of the iterations: before, images alone are compared


class WganGp(Averaged):
    """Generator and critic train each other, the critic held to a slope of 1 by a penalty."""

    name: Literal["wgan_gp"]
    critic_updates: Count
    gradient_penalty: Weight


class Cycle(_Section):
    """Two generators and two discriminators on unpaired images: least squares, cycle consistency, identity."""

    name: Literal["cycle"]
    cycle: Weight  # of the L1 distance after there and back, both ways
    identity: Weight  # of the L1 distance where an image is of the wanted dose already
    pool_size: Annotated[int, Field(ge=0, le=10**6)]  # generated images that the discriminators may see again


class DualDomain(Averaged):
    """U-Net discriminators of the image and of its gradient, with CutMix consistency."""

    name: Literal["dual_domain"]
    gradient_adversarial: Weight  # of the gradient discriminator; `losses.adversarial` is the image one's
    cutmix: Fraction  # probability at the end of the warm-up
    cutmix_warmup: Annotated[int, Field(ge=0, le=10**12)]  # in iterations
    consistency: Weight


class GreedyCascade(_Section):
    """Levels that follow one another, each trained for its share of the iterations on what those before it give."""

    name: Literal["greedy_cascade"]
    perceptual_levels: Annotated[
        int, Field(ge=0, le=10**6)
    ]  # the first levels have the perceptual term; the others L2 alone
    shares: tuple[Annotated[float, Field(gt=0)], ...] = ()  # of the iterations, one a level; none for equal ones


class ColdDiffusion(Averaged):
    """The network undoes a degradation from full to low dose, and is trained on its own estimate too."""

    name: Literal["cold_diffusion"]
    second_step_from: Fraction  # of the iterations: from there on, also from its own estimate


class MaskedPretraining(_Section):
    """First the network restores masked low-dose images, then it is tuned on pairs."""

    name: Literal["masked_pretraining"]
    pretraining: Fraction  # of the iterations
    mask: Fraction  # of the area
    mask_patch: Count  # side of the squares that are hidden, in pixels


class StrengthTuning(_Section):
    """Nothing is trained: of a filter's strengths, the one with the least squared error on training pairs is kept."""

    name: Literal["strength_tuning"]


Algorithm = Annotated[
    Regression
    | NoiseSpectrum
    | WganGp
    | Cycle
    | DualDomain
    | GreedyCascade
    | ColdDiffusion
    | MaskedPretraining
    | StrengthTuning,
    Field(discriminator="name"),
]


class Losses(_Section):
    """Weights of the denoising network's terms; what is not named has none.

    `perceptual` is a distance of features of an ImageNet-pretrained timm network: of its stages by stride (0 to 4 for
    strides 2 to 32), or of layers by name. `perceptual_scale` multiplies that distance: it stands for the scale of the
    features, which publications seldom tell, and leaves the published weight as it is. `perceptual_input` says what the
    network sees of an image in [0, 1]: "imagenet" takes out the mean and deviation that timm's weights were trained
    with; "unit" leaves it as it is; "caffe" takes the means of blue, green and red from 255 times the image, for
    weights of VGG's first release.
    """

    adversarial: Weight = 0.0
    pixel: Weight = 0.0  # L1
    squared: Weight = 0.0  # L2
    charbonnier: Weight = 0.0
    psnr: Weight = 0.0  # − PSNR, in dB
    structural: Weight = 0.0  # 1 − MS-SSIM
    gradient: Weight = 0.0  # L1 of the magnitudes of Sobel gradients
    perceptual: Weight = 0.0
    perceptual_backbone: str = ""
    perceptual_stages: tuple[Annotated[int, Field(ge=0, le=4)], ...] = ()
    perceptual_layers: tuple[str, ...] = ()
    perceptual_distance: Literal["squared", "l1"] = "squared"
    perceptual_scale: Annotated[float, Field(gt=0)] = 1.0
    perceptual_input: Literal["imagenet", "unit", "caffe"] = "imagenet"

    @model_validator(mode="after")
    def _names_features(self) -> Losses:
        if self.perceptual > 0 and not (
            self.perceptual_backbone and (self.perceptual_stages or self.perceptual_layers)
        ):
            raise ValueError("perceptual needs perceptual_backbone, and perceptual_stages or perceptual_layers")
        return self

    @property
    def perceptual_network(self) -> str | None:
        """The timm network whose weights the perceptual loss needs; None where its weight is 0."""
        return self.perceptual_backbone if self.perceptual > 0 else None


class RateFactors(_Section):
    """Learning rates of kinds of parameters, as multiples of their network's."""

    biases: Weight = 1.0  # of convolutions and linear layers
    gains: Weight = 1.0  # the scales of normalisations


class Optimizer(_Section):
    """One optimizer for each network. SGD takes the first of `betas` as its momentum."""

    name: Literal["adamw", "adam", "sgd"]
    generator_learning_rate: LearningRate
    critic_learning_rate: LearningRate | None = None
    betas: tuple[Momentum, Momentum]
    weight_decay: Weight
    decayed: Literal["all", "filters"] = "all"  # "filters": neither biases nor scales and shifts of normalisations
    rate_factors: RateFactors = RateFactors()
    largest_gradient: Weight = 0.0  # norm above which gradients are shortened to it; 0 for no limit
    largest_update: Weight = 0.0  # change of one weight in one step, above which it is cut; 0 for no limit


class Schedule(_Section):
    """Learning rate over the run, as a share of the full one.

    "cosine_warm_restarts": 1 until the share `flat` of the run, then `cycles` equal cosine cycles over the rest, each
    from 1 to `final_fraction`; "linear": 1 until `flat`, then straight to `final_fraction`; "exponential": by a
    constant factor to `final_fraction`; "harmonic": 1/(1 + c·n) in the n-th of `cycles` equal parts, counted from 0,
    with `final_fraction` in the last; "steps": times `step_factor` at each share of the run in `steps`. `warmup` is
    the share in which it rises from 0: a cosine begins after it, the others multiply with it.
    """

    name: Literal["cosine_warm_restarts", "constant", "linear", "exponential", "harmonic", "steps"]
    cycles: Count = 1
    final_fraction: Fraction = 1.0
    flat: Fraction = 0.0
    steps: tuple[Fraction, ...] = ()
    step_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    warmup: Fraction = 0.0


class Normalization(_Section):
    """The HU range that becomes [0, 1]."""

    lower_hu: float
    upper_hu: float

    @model_validator(mode="after")
    def _is_a_range(self) -> Normalization:
        self.as_map()
        return self

    def as_map(self) -> HuNormalization:
        """Return the map between HU and network values."""
        return HuNormalization(self.lower_hu, self.upper_hu)


class Augmentation(_Section):
    """Each patch gets one of `choices` with equal probability, the same for both of a pair."""

    choices: Annotated[
        tuple[Literal["rotation", "flip", "mirror", "flips", "turns", "intensity", "none"], ...], Field(min_length=1)
    ]
    rotation_deg: float
    intensity_factors: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


class Data(_Section):
    """How batches are drawn.

    `context` is how many neighboring slices on each side the network sees; "unpaired" draws low and full dose of
    different patients. `drawing` says what has equal odds: "patients", and then the slices of each, or "slices".
    """

    images_per_batch: BatchCount
    patches_per_image: BatchCount
    patch_size: Annotated[int, Field(ge=16, le=1 << 16)]
    context: Annotated[int, Field(ge=0, le=8)] = 0
    pairing: Literal["paired", "unpaired"] = "paired"
    drawing: Literal["patients", "slices"] = "patients"
    normalization: Normalization
    augmentation: Augmentation

    @property
    def batch_size(self) -> int:
        """Patches in one batch."""
        return self.images_per_batch * self.patches_per_image


class Training(_Section):
    """Length of the run, what happens on the way, and which weights the bundle gets.

    A run ends early when validation has not improved for so many cycles of the schedule, each judged at its end
    (without restarts, by the mean over each of `schedule.cycles` equal parts of the run), or for so many iterations,
    counted after every validation. Where neither is given it never does. `keep` is "best" for the weights of the least
    validation loss, which is measured on pairs, or "last".
    """

    iterations: Count
    keep: Literal["best", "last"] = "best"
    early_stopping_cycles: Count | None = None
    early_stopping_iterations: Count | None = None
    validate_every: Count
    validation_slices: Count
    validation_loss: Literal["l1", "l1_and_perceptual"]
    validation_protocol: str
    checkpoint_every: Count
    log_every: Count
    precision: Literal["mixed", "float32"]
    batch_norm: Literal["batch", "frozen"]
    accumulation: Count
    critic_limit: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _has_one_patience(self) -> Training:
        if self.early_stopping_cycles is not None and self.early_stopping_iterations is not None:
            raise ValueError("one of early_stopping_cycles and early_stopping_iterations has to be null")
        return self


_WITH_CRITIC = ("wgan_gp", "cycle", "dual_domain")


class Recipe(_Section):
    """One published method or a named variant of it, complete: nothing but the data decides a run beside it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=40)]
    title: str
    source: str
    status: Literal["published", "reconstruction", "variant"]  # reconstruction: the source leaves parts open
    remark: str
    caution: str  # what everything that the recipe makes has to say of itself; empty for a published method
    generator: Network
    critic: Network | None
    algorithm: Algorithm
    losses: Losses
    optimizer: Optimizer
    schedule: Schedule
    data: Data
    training: Training
    seed: Annotated[int, Field(ge=0, lt=1 << 63)]

    @property
    def pixels_an_iteration(self) -> int:
        """Low-dose pixels that one iteration draws: its patches, each with the neighbouring slices that are seen.

        Each update of a WGAN's critic draws a batch of its own; all other algorithms draw one an iteration.
        """
        batches = 1 + (self.algorithm.critic_updates if isinstance(self.algorithm, WganGp) else 0)
        return batches * self.data.batch_size * self.data.patch_size**2 * (2 * self.data.context + 1)

    @model_validator(mode="after")
    def _has_what_its_algorithm_needs(self) -> Recipe:
        if self.algorithm.name in _WITH_CRITIC and (self.critic is None or self.optimizer.critic_learning_rate is None):
            raise ValueError(f"algorithm {self.algorithm.name} needs a critic and optimizer.critic_learning_rate")
        if (self.algorithm.name == "cycle") != (self.data.pairing == "unpaired"):
            raise ValueError("data.pairing is unpaired for algorithm cycle, and paired for all others")
        if self.schedule.name == "harmonic" and self.schedule.final_fraction == 0:
            raise ValueError("schedule harmonic never reaches a final_fraction of 0")
        return self

"""What a recipe may say. Every number of a training run stands here by name, and in a YAML file by value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from ldctpipe.volumes.normalization import HuNormalization

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


class Generator(_Section):
    """The denoising network."""

    network: Literal["efficientnetv2_unet"]
    backbone: str
    decoder_channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt]  # strides 16 to 1
    skips: Literal["all", "deep"]
    output: Literal["direct", "residual"]
    residual_scale: Annotated[float, Field(gt=0)]
    upsampling_kernel: Literal[2, 4]
    attention_reduction: PositiveInt


class Critic(_Section):
    """The network that scores how real a patch looks."""

    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    hidden: PositiveInt
    negative_slope: Fraction


class Algorithm(_Section):
    """How generator and critic train each other."""

    name: Literal["wgan_gp"]
    critic_updates: PositiveInt
    gradient_penalty: Weight


class Losses(_Section):
    """Weights of the generator's terms: λ₁ adversarial, λ₂ pixel (L1), λ₃ perceptual."""

    adversarial: Weight
    pixel: Weight
    perceptual: Weight
    perceptual_backbone: str
    perceptual_stages: Annotated[tuple[Annotated[int, Field(ge=0, le=4)], ...], Field(min_length=1)]


class Optimizer(_Section):
    """One optimizer for each network."""

    name: Literal["adamw", "adam"]
    generator_learning_rate: LearningRate
    critic_learning_rate: LearningRate
    betas: tuple[Momentum, Momentum]
    weight_decay: Weight


class Schedule(_Section):
    """Learning rate over the run: `cycles` equal cosine cycles, each from the full rate to `final_fraction` of it."""

    name: Literal["cosine_warm_restarts", "constant"]
    cycles: PositiveInt
    final_fraction: Fraction


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

    choices: Annotated[tuple[Literal["rotation", "flip", "intensity", "none"], ...], Field(min_length=1)]
    rotation_deg: float
    intensity_factors: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


class Data(_Section):
    """How batches are drawn."""

    images_per_batch: PositiveInt
    patches_per_image: PositiveInt
    patch_size: Annotated[int, Field(ge=32, multiple_of=32)]
    normalization: Normalization
    augmentation: Augmentation

    @property
    def batch_size(self) -> int:
        """Patches in one batch."""
        return self.images_per_batch * self.patches_per_image


class Training(_Section):
    """Length of the run, and what happens on the way."""

    iterations: PositiveInt
    early_stopping_iterations: PositiveInt
    validate_every: PositiveInt
    validation_slices: PositiveInt
    validation_loss: Literal["l1", "l1_and_perceptual"]
    validation_protocol: str
    checkpoint_every: PositiveInt
    log_every: PositiveInt
    precision: Literal["mixed", "float32"]
    batch_norm: Literal["batch", "frozen"]
    accumulation: PositiveInt
    critic_limit: Annotated[float, Field(gt=0)]


class Recipe(_Section):
    """One published method or a named variant of it, complete: nothing but the data decides a run beside it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=40)]
    title: str
    source: str
    remark: str
    caution: str  # what everything that the recipe makes has to say of itself; empty for a published method
    generator: Generator
    critic: Critic
    algorithm: Algorithm
    losses: Losses
    optimizer: Optimizer
    schedule: Schedule
    data: Data
    training: Training
    seed: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _critic_fits_patch(self) -> Recipe:
        if self.data.patch_size % 2 ** (len(self.critic.channels) // 2):
            raise ValueError("data.patch_size can't be halved as often as critic.channels wants")
        return self

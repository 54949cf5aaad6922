"""One step of WGAN-GP: gradients of a batch in parts, what gradient norms say, precision of what comes and goes."""

from __future__ import annotations

import pytest
import torch

from ldctpipe.training.launch import ImagePrecision


def batches(size: int, seed: int = 0):
    stream = torch.Generator().manual_seed(seed)
    while True:
        yield torch.rand(size, 1, 64, 64, generator=stream), torch.rand(size, 1, 64, 64, generator=stream)


def gradients(algorithm) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": parameter.grad.clone()
        for name, network in algorithm.networks().items()
        for key, parameter in network.named_parameters()
    }


def one_step(algorithm, size: int = 8, **options):
    for generator in algorithm.generators.values():
        generator.manual_seed(5)
    stream = batches(size)
    return algorithm.step(lambda: next(stream), 1e-6, **options)  # Adam's first step would turn rounding into signs


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_a_batch_in_parts_has_the_gradient_and_the_losses_of_the_whole(algorithm_for, parts):
    whole, divided = algorithm_for(), algorithm_for(f"training.accumulation={parts}")

    losses, in_parts = one_step(whole), one_step(divided)

    assert in_parts.keys() == losses.keys()
    for name, value in losses.items():
        assert float(in_parts[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6)
    largest = max(float(gradient.abs().max()) for gradient in gradients(whole).values())
    for name, gradient in gradients(whole).items():
        assert torch.allclose(gradients(divided)[name], gradient, rtol=1e-3, atol=1e-5 * largest), name


def test_batch_norm_counts_a_batch_once_although_it_is_computed_twice(algorithm_for):
    whole, divided = algorithm_for(), algorithm_for("training.accumulation=4")
    one_step(whole)
    one_step(divided)

    for (name, expected), (_, found) in zip(
        whole.denoiser.named_buffers(), divided.denoiser.named_buffers(), strict=True
    ):
        assert torch.allclose(found.double(), expected.double(), rtol=1e-4, atol=1e-6), name


def test_the_norm_of_the_pixel_term_is_that_of_a_mean_absolute_error(algorithm_for):
    algorithm = algorithm_for("losses.pixel=3.0")

    losses = one_step(algorithm, measure_gradients=True)

    # d/dx of the mean of |x − y| over 64 × 64 pixels is ±1/64² at each: its norm is √(64²)/64² = 1/64
    assert float(losses["gradient_norm_pixel"]) == pytest.approx(3 / 64, rel=1e-4)


def test_the_norm_of_the_adversarial_term_is_the_critics_slope(algorithm_for):
    algorithm = algorithm_for("losses.adversarial=2.0")
    algorithm.critic.module.forward = lambda patch: (
        0.3 * patch.sum(dim=(1, 2, 3)) + sum(parameter.sum() * 0 for parameter in algorithm.critic.parameters())
    )

    losses = one_step(algorithm, measure_gradients=True)

    assert float(losses["gradient_norm_adversarial"]) == pytest.approx(2 * 0.3 * 64, rel=1e-4)
    # and the penalty is the closed form of that slope
    assert float(losses["gradient_penalty"]) == pytest.approx((0.3 * 64 - 1) ** 2, rel=1e-4)


def test_measuring_gradients_changes_no_step(algorithm_for):
    measured, plain = algorithm_for(), algorithm_for()
    one_step(measured, measure_gradients=True)
    one_step(plain)

    for ours, theirs in zip(measured.denoiser.parameters(), plain.denoiser.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_total_gradient_norm_is_that_of_the_parameters(algorithm_for):
    algorithm = algorithm_for()

    losses = one_step(algorithm, measure_gradients=True)

    for name, network in algorithm.networks().items():
        squares = sum(float(parameter.grad.double().square().sum()) for parameter in network.parameters())
        assert float(losses[f"gradient_norm_{name}"]) == pytest.approx(squares**0.5, rel=1e-4)


def test_critics_are_updated_as_often_as_the_recipe_says_on_fresh_batches(algorithm_for):
    algorithm = algorithm_for("algorithm.critic_updates=4")
    stream, drawn = batches(2), []
    algorithm.step(lambda: drawn.append(next(stream)) or drawn[-1], 1.0)

    assert len(drawn) == 5
    assert algorithm.critic_optimizer.optimizer.state_dict()["state"][0]["step"] == 4
    assert algorithm.generator_optimizer.optimizer.state_dict()["state"][0]["step"] == 1


def test_images_stay_float32_on_their_way_into_mixed_precision():
    image = torch.tensor([1 / 3])  # 0 HU

    (kept,) = ImagePrecision("bf16-mixed", "cpu").convert_input((image,))

    assert kept.dtype == torch.float32
    assert abs(float(image.bfloat16()) - 1 / 3) * 3000 > 1  # what rounding would have cost, in HU


@pytest.fixture
def half_precision(monkeypatch):
    """A function that makes trainings on the CPU run in "bf16-mixed" or "16-mixed"."""
    from ldctpipe.training import launch

    def switch_to(kind: str) -> None:
        monkeypatch.setattr(launch, "_precision", lambda *_: ImagePrecision(kind, "cpu"))

    return switch_to


@pytest.mark.parametrize("kind", ["bf16-mixed", "16-mixed"])
def test_half_precision_goes_the_way_of_float32(algorithm_for, half_precision, kind):
    exact = algorithm_for()
    expected = one_step(exact, measure_gradients=True)
    half_precision(kind)
    algorithm = algorithm_for()

    losses = one_step(algorithm, measure_gradients=True)

    for name, value in expected.items():
        assert float(losses[name]) == pytest.approx(float(value), rel=0.1, abs=1e-3), name
    ours, theirs = (torch.cat([g.flatten() for g in gradients(each).values()]) for each in (algorithm, exact))
    ours = ours / float(ours.norm()) * float(theirs.norm())  # float16's are still multiplied by the scale
    assert float((ours - theirs).norm() / theirs.norm()) < 0.25


def test_a_step_that_overflows_in_float16_is_left_out_and_no_divergence(request_for, half_precision, monkeypatch):
    from ldctpipe.training.run import train_bundle

    half_precision("16-mixed")
    monkeypatch.setattr(torch.amp.GradScaler.__init__, "__defaults__", ("cpu", 2.0**40, 2.0, 0.5, 2000, True))
    request = request_for("model", iterations=12)

    card = train_bundle(request)

    assert card["training"]["rollbacks"] == 0
    newest = torch.load(sorted(request.checkpoints.glob("iteration-*.pt"))[-1])
    assert newest["algorithm"]["precision"]["scale"] < 2.0**40
    log = (request.out / "training.csv").read_text()
    assert "nan" not in log and "inf" not in log


def test_an_overflow_that_never_ends_is_a_divergence(algorithm_for, half_precision):
    half_precision("16-mixed")
    algorithm = algorithm_for()
    algorithm.fabric.strategy.precision.scaler._scale = torch.tensor(0.5)

    assert algorithm.divergence({"wasserstein": 0.0}) == "float16 overflows at every step"


def test_the_image_comes_out_in_float32(algorithm_for):
    algorithm = algorithm_for()
    image = torch.rand(1, 1, 64, 64)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = algorithm.denoiser(image)

    assert output.dtype == torch.float32


def test_a_critic_that_exploded_is_told_from_one_that_works(algorithm_for):
    algorithm = algorithm_for("training.critic_limit=10")

    assert algorithm.divergence({"wasserstein": 64.0}) is None
    assert "Wasserstein distance of -641" in algorithm.divergence({"wasserstein": -641.0})

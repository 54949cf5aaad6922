"""What each algorithm does in a step, with toy networks whose losses can be worked out by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ldctpipe.losses.image_terms import ImageLoss
from ldctpipe.models.corediff import CoreDiff
from ldctpipe.models.wavelet_residual import WaveletResidual
from ldctpipe.recipes.library import load_recipe
from ldctpipe.training.algorithm import Parts
from ldctpipe.training.assembly import build_algorithm
from ldctpipe.training.averaging import WeightAverage
from ldctpipe.training.cold_diffusion import ColdDiffusion
from ldctpipe.training.cycle import Cycle
from ldctpipe.training.dual_domain import DualDomain
from ldctpipe.training.greedy_cascade import GreedyCascade
from ldctpipe.training.imagenet import ImageNetWeights
from ldctpipe.training.launch import launch_fabric
from ldctpipe.training.masked_pretraining import MaskedPretraining
from ldctpipe.training.noise_spectrum import NoiseSpectrum
from ldctpipe.training.regression import Regression
from ldctpipe.training.strength_tuning import StrengthTuning
from ldctpipe.training.wgan_gp import WganGp

LOW, FULL = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1)), torch.rand(3, 1, 32, 32)


class Scale(nn.Module):
    """Multiplies by a number, and remembers what it was given."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(image.detach().clone())
        return self.factor * image


class PixelCritic(Scale):
    """Gives the mean as the score of the whole, and each pixel times a number as its own."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        pixels = super().forward(image)
        return pixels.mean(dim=(1, 2, 3)), pixels


def made(kind, name: str, *overrides: str, generator: nn.Module, others: tuple[nn.Module, ...] = (), **parts):
    """Return an algorithm of a recipe's options with these networks; `others` are the further ones."""
    common = ("data.images_per_batch=3", "data.patches_per_image=1", "data.patch_size=32")
    recipe = load_recipe(name, [*common, *overrides])
    further = iter(others)
    return kind(
        Parts(
            fabric=launch_fabric(recipe, "cpu"),
            recipe=recipe,
            generator=generator,
            critic=parts.get("critic"),
            image_loss=ImageLoss(recipe.losses.model_dump()),
            perceptual=None,
            new_generator=lambda: next(further),
            new_critic=lambda: next(further),
        )
    )


def step(algorithm, iteration: int = 0, batch=(LOW, FULL), rate: float = 0.0) -> dict[str, float]:
    return {name: float(value) for name, value in algorithm.step(lambda: batch, rate, iteration).items()}


def mean_square(value: Tensor) -> float:
    return float(value.square().mean())


class TestCycle:
    def test_losses_are_those_worked_out_by_hand(self):
        denoise, degrade, judge, judge_back = Scale(2.0), Scale(0.25), Scale(0.7), Scale(0.3)
        algorithm = made(
            Cycle, "cyclegan-kang", "losses.adversarial=3.0", generator=denoise, critic=judge,
            others=(degrade, judge_back),
        )  # fmt: skip

        losses = step(algorithm)

        low, full = float(LOW.mean()), float(FULL.mean())
        adversarial = mean_square(0.7 * 2 * LOW - 1) + mean_square(0.3 * 0.25 * FULL - 1)
        assert losses["loss_adversarial"] == pytest.approx(adversarial, rel=1e-5)
        assert losses["loss_cycle"] == pytest.approx(0.5 * low + 0.5 * full, rel=1e-5)
        assert losses["loss_identity"] == pytest.approx(full + 0.75 * low, rel=1e-5)
        total = 3 * losses["loss_adversarial"] + 10 * losses["loss_cycle"] + 5 * losses["loss_identity"]
        assert losses["loss_generator"] == pytest.approx(total, rel=1e-5)
        critic = (mean_square(0.7 * FULL - 1) + mean_square(0.7 * 2 * LOW)) / 2
        assert losses["loss_discriminator"] == pytest.approx(critic, rel=1e-5)
        backward = (mean_square(0.3 * LOW - 1) + mean_square(0.3 * 0.25 * FULL)) / 2
        assert losses["loss_backward_discriminator"] == pytest.approx(backward, rel=1e-5)

    def test_identity_generators_are_at_peace_with_cycle_and_identity(self):
        algorithm = made(Cycle, "cyclegan-kang", generator=Scale(), critic=Scale(), others=(Scale(), Scale()))

        losses = step(algorithm)

        assert (losses["loss_cycle"], losses["loss_identity"]) == (0, 0)

    def test_discriminators_see_earlier_images_again(self):
        judge = Scale()
        algorithm = made(
            Cycle, "cyclegan-kang", "algorithm.pool_size=4", generator=Scale(), critic=judge, others=(Scale(), Scale())
        )
        for number in range(40):
            step(algorithm, batch=(torch.full_like(LOW, number / 40), FULL))

        judged = [round(40 * float(image.mean(dim=(1, 2, 3))[0])) for image in judge.seen[2::3]]
        assert any(image < number for number, image in enumerate(judged)), "none came back"
        assert any(image == number for number, image in enumerate(judged[4:], start=4)), "only old ones"

    def test_learning_moves_all_four_networks(self):
        networks = [Scale(0.5), Scale(0.5), Scale(0.5), Scale(0.5)]
        algorithm = made(Cycle, "cyclegan-kang", generator=networks[0], critic=networks[1], others=tuple(networks[2:]))
        step(algorithm, rate=1.0)

        assert all(float(network.factor) != 0.5 for network in networks)


class TestDualDomain:
    SMALL = ("algorithm.cutmix=0.0", "algorithm.average_decay=0.0")

    def test_the_low_dose_is_judged_as_generated(self):
        algorithm = made(
            DualDomain, "du-gan", *self.SMALL, generator=Scale(0.5), critic=PixelCritic(0.7), others=(PixelCritic(),)
        )
        losses = step(algorithm)

        expected = 0.0
        for image, wanted in ((FULL, 1.0), (0.5 * LOW, 0.0), (LOW, 0.0)):
            expected += mean_square(0.7 * image.mean(dim=(1, 2, 3)) - wanted) + mean_square(0.7 * image - wanted)
        assert losses["loss_discriminator_image"] == pytest.approx(expected, rel=1e-5)

    def test_the_generators_loss_is_the_published_sum(self):
        algorithm = made(
            DualDomain, "du-gan", *self.SMALL, generator=Scale(0.5), critic=PixelCritic(0.7), others=(PixelCritic(),)
        )
        losses = step(algorithm)

        image = 0.5 * LOW
        adversarial = mean_square(0.7 * image.mean(dim=(1, 2, 3)) - 1) + mean_square(0.7 * image - 1)
        assert losses["loss_adversarial_image"] == pytest.approx(adversarial, rel=1e-5)
        total = 0.1418 * losses["loss_adversarial_image"] + 0.1196 * losses["loss_adversarial_gradient"]
        total += 5.034 * mean_square(image - FULL) + 35.31 * losses["loss_gradient"]
        assert losses["loss_generator"] == pytest.approx(total, rel=1e-5)

    def test_a_critic_that_judges_pixel_by_pixel_is_consistent(self):
        def critic_losses(consistency: float) -> dict[str, float]:
            always = ("algorithm.cutmix=1.0", "algorithm.cutmix_warmup=0", f"algorithm.consistency={consistency}")
            critics = PixelCritic(0.7), PixelCritic(0.2)
            algorithm = made(DualDomain, "du-gan", *always, generator=Scale(), critic=critics[0], others=critics[1:])
            algorithm.generators["cutmix"].manual_seed(3)
            return step(algorithm)

        without, with_much = critic_losses(0.0), critic_losses(1e6)

        for name in ("loss_discriminator_image", "loss_discriminator_gradient"):
            assert with_much[name] == pytest.approx(without[name], rel=1e-4)

    def test_mixed_patches_hold_one_rectangle_of_the_generated_one(self):
        """Its area is that of CutMix (Yun 2019): a share 1 − λ, λ uniform, around a uniform centre, cut at the edge."""
        critic = PixelCritic()
        always = ("algorithm.cutmix=1.0", "algorithm.cutmix_warmup=0", "algorithm.average_decay=0.0")
        algorithm = made(DualDomain, "du-gan", *always, generator=Scale(0.0), critic=critic, others=(PixelCritic(),))
        real = torch.ones_like(FULL)
        algorithm.generators["cutmix"].manual_seed(0)
        shares = []
        for _ in range(300):
            step(algorithm, batch=(torch.zeros_like(LOW), real))
            mixed = critic.seen[1][0, 0]
            hole = (mixed == 0).nonzero()
            assert set(mixed.unique().tolist()) <= {0.0, 1.0}
            if len(hole):
                (top, left), (bottom, right) = hole.min(dim=0).values, hole.max(dim=0).values
                assert len(hole) == (bottom - top + 1) * (right - left + 1)
            shares.append(len(hole) / mixed.numel())
            critic.seen.clear()

        random = np.random.default_rng(0)
        half = np.sqrt(1 - random.random(100_000)) / 2
        sides = [np.clip(c + half, 0, 1) - np.clip(c - half, 0, 1) for c in random.random((2, 100_000))]
        assert np.mean(shares) == pytest.approx(np.mean(sides[0] * sides[1]), abs=0.05)

    def test_mixing_begins_with_none_and_comes_as_often_as_published(self):
        critic = PixelCritic()
        algorithm = made(DualDomain, "du-gan", generator=Scale(), critic=critic, others=(PixelCritic(),))
        algorithm.generators["cutmix"].manual_seed(0)

        def mixed(iteration: int) -> float:
            critic.seen.clear()
            for _ in range(200):
                step(algorithm, iteration)
            return sum(len(image) == len(LOW) for image in critic.seen) / 200 - 1  # one call is the generator's

        assert mixed(0) == 0
        assert mixed(500) == pytest.approx(0.762 / 2, abs=0.1)
        assert mixed(5000) == pytest.approx(0.762, abs=0.1)


class TestGreedyCascade:
    def cascade(self, *overrides: str):
        from ldctpipe.models.cascade import Cascade

        torch.manual_seed(0)
        generator = Cascade(levels=("cnn10", "cnn10", "cnn10"))
        return made(GreedyCascade, "cnn10-cascade", "training.iterations=6", *overrides, generator=generator)

    def test_one_level_after_another_changes_and_no_other(self):
        algorithm = self.cascade()
        changed = []
        for iteration in range(6):
            before = copy.deepcopy([level.state_dict() for level in algorithm.denoiser.levels])
            step(algorithm, iteration, rate=1.0)
            after = [level.state_dict() for level in algorithm.denoiser.levels]
            changed.append([any(not torch.equal(a[k], b[k]) for k in a) for a, b in zip(after, before, strict=True)])

        assert [each.index(True) for each in changed] == [0, 0, 1, 1, 2, 2]
        assert all(sum(each) == 1 for each in changed)

    def test_a_level_learns_from_what_the_one_before_gives(self):
        algorithm = self.cascade()
        given: list[Tensor] = []
        algorithm.denoiser.levels[1].register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].clone()))

        step(algorithm, iteration=2)

        algorithm.denoiser.eval()
        with torch.no_grad():
            assert torch.equal(given[0], torch.cat((LOW, algorithm.denoiser.levels[0](LOW)), dim=1))

    def test_levels_have_their_shares(self):
        algorithm = self.cascade("algorithm.shares=[3,2,1]")

        trained = []
        for iteration in range(6):
            before = [level.last.weight.clone() for level in algorithm.denoiser.levels]
            step(algorithm, iteration, rate=1.0)
            pairs = zip(before, algorithm.denoiser.levels, strict=True)
            trained += [index for index, (old, level) in enumerate(pairs) if not torch.equal(old, level.last.weight)]
        assert trained == [0, 0, 0, 1, 1, 2]


class Undoer(CoreDiff):
    """CoreDiff whose estimate is a multiple of what it sees."""

    def __init__(self) -> None:
        super().__init__(context=0)
        self.unet = nn.Identity()  # type: ignore[assignment]
        self.factor = nn.Parameter(torch.tensor(0.5))
        self.calls: list[tuple[Tensor, int, Tensor | None]] = []

    def estimate(self, x_t: Tensor, low_dose: Tensor, t: Tensor, previous: Tensor | None = None) -> Tensor:
        self.calls.append((x_t.detach().clone(), int(t[0]), None if previous is None else previous.detach().clone()))
        return self.factor * x_t


class TestColdDiffusion:
    @staticmethod
    def blend(full: Tensor, low: Tensor, time: int) -> Tensor:
        share = min(0.999, 1 - np.linspace(0, 10, 10)[time] / 10)
        return share * full + (1 - share) * low

    def algorithm(self, *overrides: str) -> ColdDiffusion:
        common = ("data.context=0", "training.iterations=100")
        made_one = made(ColdDiffusion, "corediff", *common, *overrides, generator=Undoer())
        made_one.generators["time"].manual_seed(2)
        return made_one

    def test_both_estimates_are_those_of_the_publication(self):
        algorithm = self.algorithm()
        calls = algorithm.networks()["generator"].calls
        times = []
        for _ in range(30):
            calls.clear()
            losses = step(algorithm)
            (x_t, time, none), *again = calls
            times.append(time)
            assert none is None
            assert torch.allclose(x_t, self.blend(FULL, LOW, time), atol=1e-6)
            assert losses["loss_first"] == pytest.approx(mean_square(0.5 * x_t - FULL), rel=1e-5)
            if time == 0:
                assert not again
                assert losses["loss_second"] == losses["loss_first"]
                continue
            ((x_before, before, previous),) = again
            assert before == time - 1
            assert torch.allclose(previous, 0.5 * x_t)
            assert torch.allclose(x_before, self.blend(0.5 * x_t, LOW, time - 1), atol=1e-6)
            both = losses["loss_first"] / 2 + mean_square(0.5 * x_before - FULL) / 2
            assert losses["loss_generator"] == pytest.approx(both, rel=1e-5)
        assert {0, 9} <= set(times) <= set(range(10))

    @pytest.mark.parametrize("every", [1, 3])
    @pytest.mark.parametrize("begins", [0.0, 0.02])
    def test_what_denoises_is_the_exponential_average_of_the_weights(self, every, begins):
        algorithm = self.algorithm(
            "algorithm.average_decay=0.3", f"algorithm.average_every={every}", f"algorithm.average_from={begins}"
        )
        live = []
        for iteration in range(24):
            step(algorithm, iteration, rate=20.0)
            live.append(float(algorithm.networks()["generator"].factor))

        first, *later = [number for number in range(1, 25) if number > 100 * begins and number % every == 0]
        expected = live[first - 1]
        for decay, number in zip([2 / 11, 3 / 12, *[0.3] * 24], later, strict=False):  # rises to the recipe's
            expected = decay * expected + (1 - decay) * live[number - 1]
        assert float(algorithm.denoiser.factor) == pytest.approx(expected, rel=1e-5)
        assert abs(expected - live[-1]) > 1e-4

    def test_until_the_average_begins_the_network_itself_denoises(self):
        algorithm = self.algorithm("algorithm.average_from=0.05")
        for iteration in range(4):
            step(algorithm, iteration, rate=1.0)

        assert algorithm.denoiser is algorithm.networks()["generator"]

    def test_after_fifty_iterations_the_average_is_about_as_good_as_the_network(self):
        algorithm = self.algorithm("training.iterations=50")  # the published decay, interval and start
        network: Any = algorithm.networks()["generator"]
        start = float(network.factor.detach())
        for iteration in range(50):
            step(algorithm, iteration, batch=(LOW, LOW), rate=40.0)

        def loss(factor: float) -> float:
            return (1 - factor) ** 2

        live, average = float(network.factor), float(algorithm.denoiser.factor)
        assert algorithm.denoiser is not network
        assert loss(live) < loss(start) / 10
        assert loss(average) < max(2 * loss(live), loss(start) / 10)

    def test_the_published_decay_holds_in_a_run_of_published_length(self):
        options = load_recipe("corediff").algorithm
        network = Scale(0.0)
        average = WeightAverage(network, options, 150_000)
        for iteration in range(30_000):
            average.update(iteration)

        network.factor.data.fill_(1.0)
        average.update(30_009)

        assert float(average.network.factor) == pytest.approx(0.005, rel=1e-4)


class TestAveragedWeights:
    """Of algorithms whose publications average no weights."""

    AVERAGED = ("algorithm.average_decay=0.5", "optimizer.generator_learning_rate=0.1", "training.keep=last")

    def test_regression_denoises_with_the_average(self):
        network = Scale(0.0)
        algorithm = made(Regression, "red-cnn", *self.AVERAGED, generator=network)
        live = []
        for iteration in range(2):
            step(algorithm, iteration, rate=1.0)
            live.append(float(network.factor))

        decay = 2 / 11  # of the second averaging: (1 + n) / (10 + n)
        assert float(algorithm.denoiser.factor) == pytest.approx(decay * live[0] + (1 - decay) * live[1])

    def test_the_critic_judges_the_network_itself(self):
        class Mean(nn.Conv2d):
            def forward(self, image: Tensor) -> Tensor:
                return super().forward(image).mean(dim=(1, 2, 3))

        network = Scale(0.0)
        options = ("algorithm.critic_updates=1", "losses.adversarial=0", "losses.pixel=1", *self.AVERAGED)
        algorithm = made(WganGp, "wgan-gp-effnetv2-mini", *options, generator=network, critic=Mean(1, 1, 1))
        for iteration in range(3):
            step(algorithm, iteration, rate=1.0)
        before = float(network.factor)
        judged: list[Tensor] = []
        algorithm.networks()["critic"].register_forward_pre_hook(lambda _, inputs: judged.append(inputs[0]))

        step(algorithm, 3, rate=1.0)

        assert float(algorithm.denoiser.factor) != before
        assert torch.allclose(judged[0][3:], before * LOW)

    def test_a_training_goes_on_with_its_average(self):
        one, other = (made(Regression, "red-cnn", *self.AVERAGED, generator=Scale(0.0)) for _ in range(2))
        step(one, 0, rate=1.0)

        other.load_state_dict(copy.deepcopy(one.state_dict()))
        for algorithm in (one, other):
            step(algorithm, 1, rate=1.0)

        assert torch.equal(one.denoiser.factor, other.denoiser.factor)
        assert other.denoiser is not other.networks()["generator"]


LOMAE_FOR_SECONDS = (
    "generator.channels=8", "generator.blocks=[2]", "generator.heads=2", "data.images_per_batch=4",
    "data.patch_size=32", "training.iterations=100", "algorithm.pretraining=0.2",
    "optimizer.generator_learning_rate=0.0003",
)  # fmt: skip


class Drawer(Scale):
    """Restores 0.3 too much at hidden pixels, and anything elsewhere."""

    def reconstruct(self, image: Tensor, mask: Tensor) -> Tensor:
        self.seen.append(mask.clone())
        return self.factor * (image + 0.3 * mask + 50.0 * ~mask)


class TestMaskedPretraining:
    OPTIONS = ("training.iterations=4", "algorithm.pretraining=0.5", "algorithm.mask_patch=4", "algorithm.mask=0.25")

    def test_only_hidden_pixels_count_and_no_full_dose_is_needed(self):
        algorithm = made(MaskedPretraining, "lomae", *self.OPTIONS, generator=Drawer())

        losses = step(algorithm, batch=(LOW, torch.full_like(FULL, torch.nan)))

        assert losses["loss_hidden"] == pytest.approx(0.09, rel=1e-4)

    def test_fine_tuning_starts_from_the_low_dose_image_and_improves_it(self):
        recipe = load_recipe("lomae", LOMAE_FOR_SECONDS)
        algorithm = build_algorithm(recipe, ImageNetWeights(False), launch_fabric(recipe, "cpu"))
        for number, generator in enumerate(algorithm.generators.values()):
            generator.manual_seed(number)
        noise = torch.Generator().manual_seed(0)
        coarse = torch.rand(4, 1, 5, 5, generator=noise)
        full_dose = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic").clamp(0, 1)
        torch.manual_seed(0)  # of the dropped paths

        ratios = []
        for iteration in range(100):
            low_dose = full_dose + 0.02 * torch.randn(full_dose.shape, generator=noise)  # about 80 HU
            losses = step(algorithm, iteration, batch=(low_dose, full_dose), rate=1.0)
            if iteration >= 20:
                ratios.append(float(losses["loss_squared"] / (low_dose - full_dose).square().mean()))

        assert ratios[0] == pytest.approx(1, rel=1e-4)
        assert max(ratios) < 1.5 and sum(ratios[-5:]) / 5 < 0.93

    def test_the_published_share_is_hidden_in_squares(self):
        network = Drawer()
        step(made(MaskedPretraining, "lomae", *self.OPTIONS, generator=network))

        (mask,) = network.seen
        squares = mask.unfold(2, 4, 4).unfold(3, 4, 4).flatten(start_dim=4)
        assert torch.equal(squares.any(dim=-1), squares.all(dim=-1))
        assert mask.float().mean(dim=(1, 2, 3)).tolist() == [0.25, 0.25, 0.25]

    def test_pairs_come_after_the_share_of_pretraining(self):
        algorithm = made(MaskedPretraining, "lomae", *self.OPTIONS, generator=Drawer())

        told = [step(algorithm, iteration) for iteration in range(4)]

        assert ["loss_hidden" in losses for losses in told] == [True, True, False, False]
        assert told[2]["loss_squared"] == pytest.approx(mean_square(LOW - FULL), rel=1e-5)


class Amplifier(nn.Module):
    """A filter of the kind that is tuned: it multiplies by its strength."""

    grid = (0.2, 0.5, 0.9, 1.3)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("strength", torch.tensor(7.0))

    def forward(self, image: Tensor) -> Tensor:
        return self.strength * image


def test_the_strength_of_least_error_over_all_batches_is_kept():
    algorithm = made(StrengthTuning, "tv", generator=Amplifier())
    random = torch.Generator().manual_seed(0)
    batches = [tuple(torch.rand(3, 1, 32, 32, generator=random) * scale for scale in (1, f)) for f in (0.6, 1.0, 2.0)]
    errors = np.zeros((3, 4))
    for number, (low, full) in enumerate(batches):
        step(algorithm, number, batch=(low, full))
        errors[number] = [((s * low.double() - full.double()) ** 2).mean() for s in Amplifier.grid]
        best = Amplifier.grid[errors[: number + 1].sum(axis=0).argmin()]
        assert float(algorithm.denoiser.strength) == pytest.approx(best)
    assert len({int(row.argmin()) for row in errors}) > 1, "the batches should disagree"


def test_losses_on_bands_are_those_of_the_transform():
    torch.manual_seed(0)
    network = WaveletResidual(channels=4, modules=1, levels=1)
    nn.init.zeros_(network.trunk.last.weight)  # so that it gives back what it sees
    algorithm = made(Regression, "wavelet-residual", generator=network)

    losses = step(algorithm)

    # The four bands of a level share the image's energy (Parseval); one HU is 0.0192 units, water 19.2.
    assert losses["loss_squared"] == pytest.approx((4096 * 0.0192) ** 2 * mean_square(LOW - FULL) / 4, rel=1e-4)
    assert losses["loss_generator"] == pytest.approx(0.05 * losses["loss_squared"], rel=1e-5)


class Profile(nn.Module):
    """Stands in for a network that makes profiles: each row's mean, times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, noise: Tensor) -> Tensor:
        return self.factor * noise.mean(dim=(1, 3))


def test_profiles_of_removed_and_true_noise_are_compared_once_they_begin(monkeypatch):
    profiles = iter((Profile(1.0), Profile(2.0)))
    monkeypatch.setattr(NoiseSpectrum, "_new", lambda *_: next(profiles))
    options = ("training.iterations=4", "algorithm.begins=0.5", "algorithm.profile=3.0", "algorithm.correlation=7.0")
    algorithm = made(NoiseSpectrum, "ct-mamba", *options, "losses.pixel=0.0", generator=Scale(0.5))

    before, after = step(algorithm, iteration=1), step(algorithm, iteration=2)

    assert "loss_profile" not in before
    removed, true = ((LOW - image).mean(dim=(1, 3)).numpy() for image in (0.5 * LOW, FULL))
    assert after["loss_profile"] == pytest.approx(np.abs(removed - 2 * true).mean(), rel=1e-4)
    pearson = np.mean([np.corrcoef(one, other)[0, 1] for one, other in zip(removed, true, strict=True)])
    assert after["loss_correlation"] == pytest.approx(1 - pearson, rel=1e-4)
    total = 3 * after["loss_profile"] + 7 * after["loss_correlation"]
    assert after["loss_generator"] == pytest.approx(total, rel=1e-5)


class Line(nn.Module):
    """Multiplies by one number and adds another."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.offset = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(3.0))

    def forward(self, image: Tensor) -> Tensor:
        return self.slope * image + self.offset


@pytest.mark.parametrize("limit", [0.01, 1e6])
def test_a_gradient_above_the_limit_is_shortened_and_keeps_its_direction(limit):
    network, rate = Line(), 0.5
    algorithm = made(
        Regression, "red-cnn", "optimizer.name=sgd", "optimizer.betas=[0.0,0.0]", "training.precision=float32",
        f"optimizer.generator_learning_rate={rate}", f"optimizer.largest_gradient={limit}", generator=network,
    )  # fmt: skip
    step(algorithm, rate=1.0)

    error = 0.5 * LOW + 3.0 - FULL  # the mean of its square is the loss
    gradient = torch.stack((2 * (error * LOW).mean(), 2 * error.mean()))
    taken = (torch.tensor([0.5, 3.0]) - torch.stack((network.slope, network.offset)).detach()) / rate
    assert float(gradient.norm()) > 1
    assert torch.allclose(taken, gradient * min(1.0, limit / float(gradient.norm())), rtol=1e-3)


@pytest.mark.parametrize("name", ["nafnet", "restormer"])
def test_recipes_whose_code_limits_gradients_do(name):
    assert load_recipe(name).optimizer.largest_gradient == 0.01


@pytest.mark.parametrize("name", ["wgan-vgg", "cyclegan-kang", "du-gan"])
def test_the_moments_of_the_recipe_reach_generators_and_critics(name):
    small = ("generator.channels=2", "losses.perceptual=0.0", "optimizer.betas=[0.35,0.85]")
    recipe = load_recipe(name, small)
    algorithm = build_algorithm(recipe, ImageNetWeights(False), launch_fabric(recipe, "cpu"))

    states = {key: state for key, state in algorithm.state_dict().items() if key.endswith("_optimizer")}
    assert {"generator_optimizer"} < set(states)
    assert all(group["betas"] == (0.35, 0.85) for state in states.values() for group in state["param_groups"])


def test_no_weight_changes_by_more_than_the_limit():
    network = Scale(0.0)
    algorithm = made(
        Regression, "drl", "optimizer.name=sgd", "optimizer.betas=[0.0,0.0]", "optimizer.generator_learning_rate=0.9",
        "optimizer.largest_update=0.01", generator=network,
    )  # fmt: skip
    step(algorithm, rate=1.0)

    assert float(network.factor) == pytest.approx(0.01, rel=1e-5)  # the gradient's own step is some 0.4


def test_the_wavelet_network_takes_most_of_the_noise_of_smooth_images_away():
    torch.manual_seed(0)
    network = WaveletResidual(channels=8, modules=1)
    # A decay of 0.01 on all parameters would leave all the noise.
    algorithm = made(Regression, "wavelet-residual", "optimizer.generator_learning_rate=0.1", generator=network)
    generator = torch.Generator().manual_seed(1)

    def smooth_and_noisy() -> tuple[Tensor, Tensor]:
        full = 0.25 + 0.03 * torch.rand(10, 1, 4, 4, generator=generator)
        full = nn.functional.interpolate(full, (32, 32), mode="bilinear")
        return full + 0.0075 * torch.randn(full.shape, generator=generator), full

    for iteration in range(300):
        algorithm.step(smooth_and_noisy, 1.0, iteration)
    low, full = smooth_and_noisy()
    with torch.no_grad():
        left = mean_square(network.eval()(low) - full) / mean_square(low - full)

    assert left < 0.4


class TwoKinds(nn.Module):
    """A convolution and a batch norm, whose gradients on `step`'s batch are all some number but 0."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.5)

    def forward(self, image: Tensor) -> Tensor:
        return self.convolution(self.norm(image))


def changes(*options: str) -> dict[str, float]:
    """Return by how much one step of plain SGD changes each parameter of `TwoKinds`."""
    network = TwoKinds()
    plain = ("optimizer.betas=[0.0,0.0]", "optimizer.largest_update=0.0", "algorithm.domain=image")
    step(made(Regression, "wavelet-residual", *plain, *options, generator=network), rate=1.0)
    return {name: float(parameter) - 0.5 for name, parameter in network.named_parameters()}


def test_biases_and_gains_learn_at_rates_of_their_own():
    one = changes("optimizer.weight_decay=0.0", "optimizer.rate_factors={biases: 1.0, gains: 1.0}")
    other = changes("optimizer.weight_decay=0.0", "optimizer.rate_factors={biases: 2.0, gains: 3.0}")

    factors = {name: other[name] / one[name] for name in one}
    assert factors == pytest.approx(
        {"convolution.weight": 1, "convolution.bias": 2, "norm.weight": 3, "norm.bias": 1}, rel=1e-3
    )


@pytest.mark.parametrize(("decayed", "others"), [("filters", 0.0), ("all", 1.0)])
def test_weights_decay_where_the_recipe_says_so(decayed, others):
    plain = ("optimizer.rate_factors={biases: 1.0, gains: 1.0}", f"optimizer.decayed={decayed}")
    none, decay = changes("optimizer.weight_decay=0.0", *plain), changes("optimizer.weight_decay=0.5", *plain)

    lost = {name: (none[name] - decay[name]) / (0.01 * 0.5 * 0.5) for name in none}  # rate · decay · weight
    assert lost == pytest.approx(
        {"convolution.weight": 1.0, "convolution.bias": others, "norm.weight": others, "norm.bias": others}, abs=1e-3
    )


RESUMED = {
    "red-cnn": ("generator.channels=2",),
    "wavelet-residual": ("generator.channels=2", "generator.modules=1"),
    "wgan-vgg": ("generator.channels=2", "critic.channels=[2,2]", "critic.hidden=4", "algorithm.critic_updates=2"),
    "cyclegan-kang": ("generator.channels=2", "critic.channels=2", "critic.layers=2", "algorithm.pool_size=2"),
    "du-gan": ("generator.channels=2", "critic.channels=2", "critic.levels=2", "algorithm.cutmix_warmup=0"),
    "drl-cascade-2": ("losses.perceptual=0.0", "losses.squared=1.0"),
    "corediff": ("data.context=0", "algorithm.average_from=0.0", "algorithm.average_every=1"),
    "lomae": ("generator.channels=4", "generator.blocks=[2]", "generator.heads=2", "generator.drop_path=0.5"),
    "ct-mamba": (
        "generator.channels=4", "generator.tile=32", "generator.states=2", "algorithm.begins=0.5",
        "losses.perceptual=0.0",
    ),
    "tv": (),
}  # fmt: skip


@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_training_ends_with_the_same_bits(name):
    common = ("data.images_per_batch=2", "data.patches_per_image=1", "data.patch_size=32", "training.iterations=4")
    recipe = load_recipe(name, [*common, *RESUMED[name]])

    def fresh():
        algorithm = build_algorithm(recipe, ImageNetWeights(False), launch_fabric(recipe, "cpu"))
        for number, generator in enumerate(algorithm.generators.values()):
            generator.manual_seed(number)
        return algorithm

    def train(algorithm, iterations) -> None:
        for iteration in iterations:
            random = torch.Generator().manual_seed(iteration)
            batch = tuple(torch.rand(2, 1, 32, 32, generator=random) for _ in range(2))
            algorithm.step(lambda batch=batch: batch, 1.0, iteration)

    whole = fresh()
    torch.manual_seed(0)
    train(whole, range(4))
    stopped = fresh()
    torch.manual_seed(0)
    train(stopped, range(2))
    saved = copy.deepcopy(stopped.state_dict())
    random = {key: generator.get_state() for key, generator in stopped.generators.items()}, torch.get_rng_state()
    train(stopped, range(2, 3))  # must not reach what was saved
    resumed = fresh()
    resumed.load_state_dict(saved)
    for key, state in random[0].items():
        resumed.generators[key].set_state(state)
    torch.set_rng_state(random[1])
    train(resumed, range(2, 4))

    expected, found = whole.denoiser.state_dict(), resumed.denoiser.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    networks = zip(whole.networks().values(), resumed.networks().values(), strict=True)
    for one, other in networks:
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))

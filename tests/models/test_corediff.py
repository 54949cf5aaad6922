"""CoreDiff against its public parameter count, its schedule and an estimator that knows the truth."""

from __future__ import annotations

import math

import pytest
import torch
from pixel_reach import reached_span, without_gradient
from torch import nn

from ldctpipe.models.corediff import CoreDiff, sinusoids


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def network() -> CoreDiff:
    torch.manual_seed(0)
    return CoreDiff(context=1).eval()


class Oracle(CoreDiff):
    """Estimates what it is told, and notes at which times and with which images it is asked."""

    def __init__(self, truth: torch.Tensor, **options) -> None:
        super().__init__(**options)
        self.truth, self.asked = truth, []

    def estimate(self, x_t, low_dose, t, previous=None):
        self.asked.append((int(t[0]), x_t, previous))
        return self.truth


@pytest.mark.parametrize(("context", "count"), [(1, 4_825_953), (0, 4_824_801)])
def test_counts_are_those_of_public_code(context, count):
    assert parameters(CoreDiff(context=context)) == count


def test_modulation_is_the_published_share(network):
    assert sum(parameters(modulation.adjust) for modulation in network.unet.modulations) == 470_912


def test_schedule_is_the_published_one(network):
    shares = network.full_dose_share.tolist()

    # 1 − i · (10/9)/10, cut at 0.999
    assert shares == pytest.approx([0.999, *(1 - i / 9 for i in range(1, 10))], abs=1e-6)


def test_degradation_keeps_the_mean_between_both_doses(network):
    full, low = torch.rand(2, 1, 8, 8), torch.rand(2, 3, 8, 8)

    degraded = network.degrade(full, low, torch.tensor([3, 9]))

    assert torch.allclose(degraded[0], 2 / 3 * full[0] + 1 / 3 * low[0, 1:2], atol=1e-6)
    assert torch.equal(degraded[1], low[1, 1:2])


def test_sampling_walks_the_published_times_back_to_the_truth():
    truth, low = torch.rand(1, 1, 12, 9), torch.rand(1, 3, 12, 9)
    oracle = Oracle(truth)

    result = oracle(low)

    assert [time for time, *_ in oracle.asked] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    for time, x_t, _ in oracle.asked:
        assert torch.allclose(x_t, oracle.degrade(truth, low, torch.tensor([time])), atol=1e-5)
    assert torch.equal(result, truth)


def test_each_step_but_the_first_is_modulated_by_the_estimate_before():
    oracle = Oracle(torch.rand(1, 1, 8, 8))

    oracle(torch.rand(1, 3, 8, 8))

    assert [previous is None for *_, previous in oracle.asked] == [True] + [False] * 9


@pytest.mark.parametrize(("steps", "times"), [(1, [9]), (2, [9, 0]), (4, [9, 6, 3, 0])])
def test_fewer_steps_skip_times(steps, times):
    assert CoreDiff(steps=steps).times == times


def test_more_steps_than_times_are_refused():
    with pytest.raises(ValueError, match="steps"):
        CoreDiff(steps=11)


def test_without_a_correction_the_low_dose_slice_stays():
    network = CoreDiff(steps=3)
    nn.init.zeros_(network.unet.head.weight)
    nn.init.zeros_(network.unet.head.bias)
    low = torch.rand(2, 3, 11, 14)

    with torch.inference_mode():
        assert torch.allclose(network(low), low[:, 1:2], atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 37, 50), (1, 3, 16, 16), (1, 3, 9, 8)])
def test_any_size_comes_back_in_its_size(network, shape):
    with torch.inference_mode():
        assert network(torch.rand(shape)).shape == (shape[0], 1, *shape[2:])


def test_neighbours_and_time_matter(network):
    low, t = torch.rand(1, 3, 16, 16), torch.tensor([5])
    other = low.clone()
    other[:, 2] = 0

    with torch.inference_mode():
        plain = network.estimate(low[:, 1:2], low, t)
        assert not torch.equal(plain, network.estimate(low[:, 1:2], other, t))
        assert not torch.equal(plain, network.estimate(low[:, 1:2], low, t - 1))


def test_samples_of_a_batch_may_have_times_of_their_own(network):
    low, t = torch.rand(2, 3, 16, 16), torch.tensor([2, 7])

    with torch.inference_mode():
        together = network.estimate(low[:, 1:2], low, t, low[:, 1:2])
        alone = network.estimate(low[1:, 1:2], low[1:], t[1:], low[1:, 1:2])

    assert torch.allclose(together[1:], alone, atol=1e-5)


def test_all_but_the_modulation_works_without_a_previous_estimate(network):
    low, t = torch.rand(1, 3, 16, 16), torch.tensor([5])

    unmoved = without_gradient(network, network.estimate(low[:, 1:2], low, t))
    modulated = without_gradient(network, network.estimate(low[:, 1:2], low, t, low[:, 1:2] + 0.1))

    assert modulated == []
    assert {name.split(".")[3] for name in unmoved} == {"adjust"}
    assert len(unmoved) == 4 * 8


def test_an_estimate_reaches_40_pixels_back_and_43_on():
    # From pixel 0 back: ±2, halved ±1, ±4, halved ±2, ±8, doubled −16 to 17, −19 to 20, doubled −38 to 41, ±2 more.
    network = CoreDiff(context=0)
    t = torch.tensor([5])

    assert reached_span(network, lambda image: network.estimate(image, image, t), side=128, pixel=64) == (40, 43)


def test_low_precision_ends_before_the_image(network):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(1, 3, 16, 16)).dtype == torch.float32


def test_time_features_are_sines_then_cosines_of_falling_frequencies():
    sine, slow_sine, cosine, slow_cosine = sinusoids(torch.tensor([3]), 4)[0].tolist()

    assert (sine, cosine) == pytest.approx((math.sin(3), math.cos(3)))
    assert (slow_sine, slow_cosine) == pytest.approx((math.sin(3e-4), math.cos(3e-4)))  # 10,000 times slower

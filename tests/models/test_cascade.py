"""Cascades: what each level gets, which one learns, and the blended output."""

from __future__ import annotations

import pytest
import torch
from probing import keras_total, zeroed
from torch import nn

from ldctpipe.models.cascade import Cascade
from ldctpipe.models.cnn10 import Cnn10
from ldctpipe.models.drl import Drl


def seen_by(level: nn.Module) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    level.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].detach()))
    return seen


def test_levels_of_wu_2017_have_the_published_size_but_for_the_stacked_input():
    cascade = Cascade(levels=("cnn10", "cnn10", "cnn10"))

    assert [keras_total(level) for level in cascade.levels] == [335_873, *[335_873 + 9 * 64] * 2]


def test_levels_of_ataei_2020_have_the_published_size():
    cascade = Cascade(levels=("drl", "drl"), inputs="previous")

    assert [keras_total(level) for level in cascade.levels] == [225_601, 225_601]
    assert [type(level) for level in Cascade(levels=("drl", "cnn10")).levels] == [Drl, Cnn10]


def test_later_levels_see_the_low_dose_image_and_the_previous_result():
    cascade = Cascade(levels=("cnn10", "cnn10", "cnn10")).eval()
    seen = [seen_by(level) for level in cascade.levels]
    image = torch.rand(1, 1, 16, 16)

    cascade(image)
    results = [level(inputs[0]) for level, inputs in zip(cascade.levels, seen, strict=True)]

    assert torch.equal(seen[0][0], image)
    assert torch.equal(seen[1][0], torch.cat((image, results[0]), dim=1))
    assert torch.equal(seen[2][0], torch.cat((image, results[1]), dim=1))


def test_or_the_previous_result_alone():
    cascade = Cascade(levels=("drl", "drl"), inputs="previous").eval()
    seen = seen_by(cascade.levels[1])
    image = torch.rand(1, 1, 16, 16)

    cascade(image)

    assert torch.equal(seen[0], cascade.levels[0](image))


@pytest.mark.parametrize("inputs", ["previous", "low_dose_and_previous"])
def test_a_later_level_corrects_the_previous_result(inputs):
    cascade = zeroed(Cascade(levels=("cnn10", "cnn10"), inputs=inputs))
    with torch.no_grad():
        cascade.levels[0].last.bias.fill_(0.25)
        cascade.levels[1].last.bias.fill_(0.125)

    assert torch.allclose(cascade(torch.full((1, 1, 8, 8), 0.75)), torch.tensor(0.75 - 0.25 - 0.125))


def test_blended_output_is_three_tenths_low_dose():
    torch.manual_seed(0)
    cascade = Cascade(levels=("cnn10", "cnn10"), blend=0.7).eval()
    image = torch.rand(1, 1, 16, 16)

    result = cascade.levels[1](cascade.input_of(1, image))

    assert torch.allclose(cascade(image), 0.3 * image + 0.7 * result)


def test_what_a_level_is_trained_on_is_what_it_sees_in_the_end():
    cascade = Cascade(levels=("cnn10", "cnn10", "cnn10")).eval()
    seen = [seen_by(level) for level in cascade.levels]
    image = torch.rand(1, 1, 16, 16)
    cascade(image)

    for index, inputs in enumerate(seen):
        assert torch.equal(cascade.input_of(index, image), inputs[0])


def test_any_size_comes_back_in_its_size():
    assert Cascade(levels=("drl", "cnn10"))(torch.rand(2, 1, 37, 50)).shape == (2, 1, 37, 50)


def test_a_cascade_under_training_runs_the_levels_that_are_trained():
    cascade = Cascade(levels=("cnn10", "cnn10")).eval()
    image = torch.rand(1, 1, 16, 16)

    cascade.running.fill_(1)

    assert torch.equal(cascade(image), cascade.levels[0](image))

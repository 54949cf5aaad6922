"""Pictures of a running training show the fixed slice as it is at that iteration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ldctpipe.recipes.library import load_recipe
from ldctpipe.training.run import train_bundle


def pictures(request) -> dict[str, np.ndarray]:
    found = sorted((request.checkpoints / "previews").glob("*.png"))
    return {path.stem: np.asarray(Image.open(path)) for path in found}


def test_they_come_at_intervals_and_at_the_end(request_for):
    request = request_for("model", "training.validate_every=1", iterations=9, previews=3)

    train_bundle(request)

    assert list(pictures(request)) == ["iteration-0000003", "iteration-0000006", "iteration-0000009"]
    events = EventAccumulator(str(request.checkpoints / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert [event.step for event in events.Images("preview")] == [3, 6, 9]
    assert {"loss_critic", "wasserstein", "gradient_norm_pixel", "iteration_s", "memory_mib"} <= set(
        events.Tags()["scalars"]
    )


def test_only_the_picture_of_now_changes(request_for):
    request = request_for("model", "optimizer.generator_learning_rate=0.05", iterations=8, previews=2)

    train_bundle(request)

    first, last = pictures(request).values()
    third = first.shape[1] // 3
    assert np.array_equal(first[:, :third], last[:, :third])  # low dose
    assert np.array_equal(first[:, -third + 8 :], last[:, -third + 8 :])  # full dose
    assert not np.array_equal(first[30:, third : 2 * third], last[30:, third : 2 * third])


def test_maps_stand_below_where_they_are_asked_for(request_for):
    plain, explained = request_for("plain", iterations=2, previews=1), request_for("explained", iterations=2)

    train_bundle(plain)
    train_bundle(replace(explained, previews=1, explain=True))

    (small,), (large,) = pictures(plain).values(), pictures(explained).values()
    assert large.shape[0] == pytest.approx(2 * small.shape[0], abs=8)
    assert large.shape[1] == small.shape[1]


def test_a_network_without_attention_has_its_grad_cam_below(request_for):
    request = request_for("model", iterations=1, previews=1, explain=True)
    small = ["generator.channels=4", "data.images_per_batch=1", "data.patches_per_image=1", "training.iterations=1"]

    train_bundle(replace(request, recipe=load_recipe("red-cnn", small)))

    ((picture,)) = pictures(request).values()
    assert picture.shape[1] > picture.shape[0] > picture.shape[1] / 2  # two rows of three columns
    below = picture[picture.shape[0] // 2 + 30 :].astype(int)
    third = below.shape[1] // 3
    assert (below[:, :third, 0] - below[:, :third, 2] > 50).mean() > 0.02  # warm colours
    assert (below[:, third + 10 :] == 255).all()


def test_a_filter_has_no_maps_and_says_so(request_for, tmp_path, capsys):
    request = request_for("model", previews=1, explain=True)
    (tmp_path / "tv.yaml").write_text(
        "{base: red-cnn, name: tv, title: TV, algorithm: {name: strength_tuning}, training: {iterations: 2}, "
        "generator: {network: classical.TotalVariation}, data: {images_per_batch: 1, patches_per_image: 1}}"
    )

    train_bundle(replace(request, recipe=load_recipe(str(tmp_path / "tv.yaml"))))

    assert capsys.readouterr().err.count("previews are not explained: the network has no convolution") == 1
    ((picture,)) = pictures(request).values()
    assert picture.shape[1] > 2 * picture.shape[0]  # one row of three columns


def test_looking_changes_no_training(request_for):
    plain, watched = request_for("plain"), request_for("watched", previews=3, explain=True)
    train_bundle(plain)
    train_bundle(watched)

    assert (plain.out / "model.safetensors").read_bytes() == (watched.out / "model.safetensors").read_bytes()


def test_none_are_made_where_none_are_wanted(request_for):
    request = request_for("model", iterations=2)

    train_bundle(request)

    assert not pictures(request)

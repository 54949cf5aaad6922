"""Validation measures whole slices as `ldctpipe denoise` and `ldctpipe evaluate` would, patient by patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import nn

from ldctpipe.data.store import FULL_DOSE, LOW_DOSE, open_store
from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.training.launch import launch_fabric
from ldctpipe.training.validation import Validation
from ldctpipe.volumes.normalization import HuNormalization


def l1(output, target):
    return (output - target).abs().mean()


class Shifted(nn.Module):
    """Adds a constant, in HU."""

    def __init__(self, shift_hu: float) -> None:
        super().__init__()
        self.shift = shift_hu / 3000

    def forward(self, image):
        return image + self.shift


@pytest.fixture
def store(tiny_store):
    """The tiny store with P1's first three slices and P2's last one for validation."""
    opened = open_store(tiny_store)
    slices = opened.slices.copy()
    slices["split"] = ["validation"] * 3 + ["train"] * 4 + ["validation"]
    return replace(opened, slices=slices)


def validation_of(store, count=100, protocol="mayo-soft"):
    return Validation(store, count, HuNormalization(), find_protocol(protocol), l1)


@pytest.fixture
def fabric():
    from conftest import small_recipe

    return launch_fabric(small_recipe(), "cpu")


def test_the_mean_is_over_patients_of_the_mean_over_their_slices(store, fabric):
    result = validation_of(store).run(Shifted(7), fabric)

    psnr = {}
    for patient, rows in (("P1", [0, 1, 2]), ("P2", [7])):
        low = store.pairs[rows, LOW_DOSE].astype(int)
        low = np.where(low < -1000, low, low + 7)  # what lies below the HU range of the network gets its change, too
        shown = np.clip(low, -160, 240)
        full = np.clip(store.pairs[rows, FULL_DOSE].astype(int), -160, 240)
        psnr[patient] = np.mean(
            [peak_signal_noise_ratio(f, s, data_range=400) for f, s in zip(full, shown, strict=True)]
        )
    assert result.patients["P1"]["psnr_db"] == pytest.approx(psnr["P1"], abs=1e-3)
    assert result.patients["P2"]["psnr_db"] == pytest.approx(psnr["P2"], abs=1e-3)
    assert result.psnr_db == pytest.approx((psnr["P1"] + psnr["P2"]) / 2, abs=1e-3)


def test_the_loss_is_that_of_the_recipe_on_network_values(store, fabric):
    result = validation_of(store).run(Shifted(0), fabric)

    values = (store.pairs[[0, 1, 2, 7]].clip(-1000, 2000).astype(float) + 1000) / 3000
    each = np.abs(values[:, 0] - values[:, 1]).mean(axis=(1, 2))
    assert result.loss == pytest.approx((each[:3].mean() + each[3]) / 2, rel=1e-5)


def test_it_is_what_evaluate_measures_of_what_denoise_writes(store, fabric, tmp_path):
    from ldctpipe.metrics.image_quality import image_quality, measured_mask

    protocol = find_protocol("full-range")
    result = validation_of(store, protocol="full-range").run(Shifted(3), fabric)

    full, low = store.pairs[7, FULL_DOSE], store.pairs[7, LOW_DOSE]
    quality = image_quality(low + np.int16(3), full, measured_mask(full, None, protocol), protocol)
    assert result.patients["P2"]["ssim"] == pytest.approx(quality.ssim)
    assert result.patients["P2"]["rmse_hu"] == pytest.approx(quality.rmse_hu)


def test_slices_are_shared_evenly_by_patients_and_the_same_each_time(store):
    first, again = validation_of(store, count=2), validation_of(store, count=2)

    assert first._patients == ["P1", "P2"]
    assert np.array_equal(first.slice_hu(0), again.slice_hu(0))


def test_each_patient_keeps_a_slice_when_there_are_fewer_than_patients(store):
    assert validation_of(store, count=1)._patients == ["P1", "P2"]


def test_what_was_added_to_a_smaller_slice_is_not_measured(store, fabric):
    slices = store.slices.assign(rows=100, columns=90)
    small = replace(store, slices=slices)

    assert validation_of(small).slice_hu(0).shape == (2, 100, 90)
    expected = validation_of(replace(store, pairs=store.pairs[:, :, :100, :90])).run(Shifted(1), fabric)
    assert validation_of(small).run(Shifted(1), fabric).psnr_db == pytest.approx(expected.psnr_db)


def test_the_network_keeps_its_mode_and_a_loss_that_is_no_number_shows(store, fabric):
    class OnceNan(Shifted):
        calls = 0

        def forward(self, image):
            self.calls += 1
            return super().forward(image) * (np.nan if self.calls == 2 else 1)

    network = OnceNan(0).train()

    result = validation_of(store).run(network, fabric)

    assert network.training
    assert np.isnan(result.loss)


def test_training_slices_serve_for_want_of_others(store):
    none = replace(store, slices=pd.DataFrame(store.slices).assign(split="train"))

    assert validation_of(none).on_training_slices
    assert not validation_of(store).on_training_slices


def test_ranks_share_the_slices(store, fabric, monkeypatch):
    whole = validation_of(store).run(Shifted(2), fabric)
    figures = []
    for rank in range(2):
        monkeypatch.setattr(type(fabric), "world_size", property(lambda _: 2))
        monkeypatch.setattr(type(fabric), "global_rank", property(lambda _, rank=rank: rank))
        monkeypatch.setattr(fabric, "all_reduce", lambda own, reduce_op: figures.append(own) or own)
        validation_of(store).run(Shifted(2), fabric)

    assert ((figures[0] == 0) ^ (figures[1] == 0)).all()
    assert float(torch.stack(figures).sum(dim=0)[3, 1]) == pytest.approx(whole.patients["P2"]["psnr_db"])

"""What validation scores is what `ldctpipe denoise` writes of the same slices, bit for bit on a CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from noisy_body import noisy_body
from safetensors.torch import save_file

from ldctpipe.data.preparation import prepare_store
from ldctpipe.data.store import FULL_DOSE, TrainingStore, open_store
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.metrics.image_quality import image_quality, measured_mask
from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.recipes.bundle import WEIGHTS, read_bundle, write_bundle
from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.networks import build_generator
from ldctpipe.training.assembly import build_validation
from ldctpipe.training.launch import launch_fabric
from ldctpipe.training.run import train_bundle
from ldctpipe.volumes.case import write_case
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.volume import Volume

SLICES, SIDE = 12, 40
POSITIONS_MM = 3.0 * np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13])  # two slices are missing
WIDE = "data.normalization={lower_hu: -1200.0, upper_hu: 2000.0}"
RECIPES = {
    "2-D": ("red-cnn", "generator.channels=8"),
    "2-D, a range above air": (
        "red-cnn", "generator.channels=8", "data.normalization={lower_hu: -900.0, upper_hu: 500.0}",
    ),
    "2-D, a range below air": ("nafnet", "generator.channels=8", "generator.middle_blocks=1", WIDE),
    "flagship, residual": ("wgan-gp-effnetv2-mini", "generator.decoder_channels=[16,16,8,8,8]", WIDE),
    "2.5-D": ("corediff", "generator.steps=1"),
    "slab of 5": ("cpce-3d", "generator.channels=4", "data.context=2", WIDE),
    "slab of 9": ("smgan-3d", "generator.channels=4", "generator.output=none"),
}  # fmt: skip


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Volume, TrainingStore]:
    """A low-dose volume with padding around a circle and a gap, and the store in which it validates."""
    root = tmp_path_factory.mktemp("padded")
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    outside = np.broadcast_to(np.hypot(rows, columns) > 0.48 * SIDE, (SLICES, SIDE, SIDE))
    volumes = {}
    for seed, patient in enumerate(("P1", "P2")):
        stacks = noisy_body(slices=SLICES, side=SIDE, seed=seed)
        for role, hu in zip(("low_dose", "full_dose"), stacks, strict=True):
            padded = np.where(outside, -2000, hu).astype(np.int16)
            volume = Volume(
                padded, np.diag([-0.7, -0.7, 3.0, 1.0]), POSITIONS_MM, Padding.of(outside), key=f"{patient}{role}",
                frame_of_reference=f"1.2.{seed}",
            )  # fmt: skip
            folder = root / "cases" / patient / role / volume.key
            folder.mkdir(parents=True)
            write_case(folder, volume)
            volumes[patient, role] = volume
    lines = [f"{p},cases/{p}/low_dose,cases/{p}/full_dose,{s}" for p, s in (("P1", "train"), ("P2", "validation"))]
    (root / "sheet.csv").write_text("\n".join(["patient,low_dose,full_dose,split", *lines, ""]))
    prepare_store(root / "sheet.csv", root / "store", patch_size=32)
    return volumes["P2", "low_dose"], open_store(root / "store")


def bundle_of(folder: Path, name: str, *overrides: str) -> Path:
    """Write a bundle whose network changes an image visibly."""
    recipe = load_recipe(name, (*overrides, "training.validation_slices=100"))
    torch.manual_seed(0)
    network = build_generator(recipe)
    with torch.no_grad():
        for parameter in network.parameters():  # many a network starts as the identity
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, folder / WEIGHTS)
    write_bundle(folder, recipe, {"notes": ["made for a test"]})
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_validation_scores_the_bits_that_denoise_writes(name, scan, tmp_path):
    volume, store = scan
    denoiser = Denoiser(read_bundle(bundle_of(tmp_path, *RECIPES[name])), torch.device("cpu"))
    validation = build_validation(store, denoiser.bundle.recipe, None)
    protocol = find_protocol(denoiser.bundle.recipe.training.validation_protocol)

    whole = denoiser.denoise(volume)
    result = validation.run(denoiser.network, launch_fabric(denoiser.bundle.recipe, "cpu"))

    assert len(validation) == SLICES
    assert volume.padding is not None
    for number in range(SLICES):
        scored = validation.denoised(denoiser.network, number, torch.device("cpu"))
        is_measured = ~volume.padding[number]
        assert np.array_equal(scored[is_measured], whole[number][is_measured])
        assert np.array_equal(denoiser.denoise_slice(volume, number), whole[number])
        assert (scored[~is_measured] == -1000).all()
        assert (whole[number][~is_measured] == -2000).all()
    assert (whole != volume.hu).any(axis=(1, 2)).all(), "the network changes nothing"
    errors_hu = []
    for hu, row in zip(whole, store.rows_of("validation"), strict=True):
        full_hu = store.pairs[row, FULL_DOSE]
        mask = measured_mask(full_hu, volume.padding[len(errors_hu)], protocol)
        errors_hu.append(image_quality(hu, full_hu, mask, protocol).rmse_hu)
    assert result.rmse_hu == pytest.approx(np.mean(errors_hu), rel=1e-9)


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize(
    "overrides",
    [
        ("du-gan", "generator.channels=2", "critic.channels=2", "critic.levels=2"),
        ("cpce-3d", "generator.channels=2", "critic.channels=[2,2]", "critic.hidden=4", "data.context=1"),
    ],
    ids=lambda overrides: overrides[0],
)
def test_the_saved_weights_are_those_that_were_scored(overrides, keep, request_for, tiny_store):
    small = ("data.images_per_batch=2", "data.patches_per_image=1", "data.patch_size=64", "training.iterations=4")
    often = ("training.validate_every=2", "training.validation_slices=2", "losses.pixel=1.0", f"training.keep={keep}")
    recipe = load_recipe(overrides[0], (*overrides[1:], *small, *often))
    request = replace(request_for("model"), recipe=recipe)
    card = train_bundle(request)
    store, bundle = open_store(tiny_store), read_bundle(request.out)
    protocol = find_protocol(recipe.training.validation_protocol)

    denoiser = Denoiser(bundle, torch.device("cpu"))
    errors_hu = []
    for patient in ("P1", "P2"):
        rows = store.slices.index[store.slices["patient"] == patient]
        low, full = store.pairs[rows].swapaxes(0, 1)
        volume = Volume(low, np.diag([-0.7, -0.7, 3.0, 1.0]), store.slices.loc[rows, "position_mm"].to_numpy())
        hu = denoiser.denoise(volume)[0]  # of two slices, each patient gives the first
        errors_hu.append(image_quality(hu, full[0], measured_mask(full[0], None, protocol), protocol).rmse_hu)

    assert card["training"]["validation"][keep]["rmse_hu"] == pytest.approx(np.mean(errors_hu), rel=1e-9)

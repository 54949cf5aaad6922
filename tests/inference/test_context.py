"""Networks that see neighboring slices: the same slice by slice as in slabs, no seams, nothing beyond a gap."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_bundle import write_small_bundle

from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.recipes import slice_denoiser
from ldctpipe.recipes.bundle import WEIGHTS, read_bundle, write_bundle
from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.networks import build_generator
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.volume import Volume

SMALL = {
    "cpce-3d": ("generator.channels=4", "data.context=2"),
    "smgan-3d": ("generator.channels=4", "generator.output=none"),  # untrained, its ReLU may blank an image
    "corediff": ("generator.steps=1",),
}


def denoiser_of(name: str, folder: Path) -> Denoiser:
    recipe = load_recipe(name, SMALL[name])
    torch.manual_seed(0)
    network = build_generator(recipe)
    save_file(network.state_dict(), folder / WEIGHTS)
    write_bundle(folder, recipe, {"notes": ["made for a test"]})
    return Denoiser(read_bundle(folder), torch.device("cpu"))


def volume_of(slices: int, seed: int = 0) -> Volume:
    hu = np.random.default_rng(seed).normal(40, 60, (slices, 24, 32)).astype(np.float32)
    return Volume(hu, np.diag([-1.0, -1.0, 3.0, 1.0]), np.arange(slices) * 3.0, None)


def by_hand(denoiser: Denoiser, volume: Volume) -> np.ndarray:
    """Return each slice as the network makes it of a stack that repeats the volume's ends."""
    context = denoiser.bundle.recipe.data.context
    padded = np.pad(volume.hu, ((context, context), (0, 0), (0, 0)), mode="edge")
    lower, upper = vars(denoiser.bundle.recipe.data.normalization).values()
    out = []
    for number in range(len(volume.hu)):
        window = np.clip((padded[number : number + 2 * context + 1] - lower) / (upper - lower), 0, 1)
        with torch.no_grad():
            image = denoiser.network(torch.from_numpy(window[None].astype(np.float32)))[0, 0].numpy()
        out.append(volume.hu[number] + (image - window[context]) * (upper - lower))
    return np.stack(out)


@pytest.mark.parametrize("slices", [1, 2, 7, 23])
@pytest.mark.parametrize("name", SMALL)
def test_a_volume_is_what_its_slices_are_one_by_one(name, slices, tmp_path):
    denoiser, volume = denoiser_of(name, tmp_path), volume_of(slices)

    assert np.allclose(denoiser.denoise(volume), by_hand(denoiser, volume), atol=0.05)  # HU; the change is hundreds


@pytest.mark.parametrize("name", SMALL)
def test_chunks_leave_no_seam(name, tmp_path, monkeypatch):
    denoiser, volume = denoiser_of(name, tmp_path), volume_of(13)
    whole = denoiser.denoise(volume)

    for slab, at_once in ((1, 1), (2, 3)):
        monkeypatch.setattr(slice_denoiser, "_SLAB", slab)
        monkeypatch.setitem(slice_denoiser._SLICES_AT_ONCE, "cpu", at_once)
        assert np.allclose(denoiser.denoise(volume), whole, atol=0.05)


@pytest.mark.parametrize("name", SMALL)
def test_a_slice_depends_on_its_neighbours_and_on_no_other(name, tmp_path):
    denoiser, volume = denoiser_of(name, tmp_path), volume_of(15)
    context = denoiser.bundle.recipe.data.context
    changed = volume_of(15)
    changed.hu[7] += 500

    difference = np.abs(denoiser.denoise(changed) - denoiser.denoise(volume)).max(axis=(1, 2))

    reached = {number for number in range(15) if difference[number] > 0.01}
    assert reached <= set(range(7 - context, 8 + context))
    assert {6, 7, 8} <= reached


GAP = 3.0 * np.array([0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12])
DUPLICATE = 3.0 * np.array([0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9])
JUMP = 3.0 * np.array([0, 1, 2, 3, 4, 5, 6, 2, 3, 4, 5])


@pytest.mark.parametrize("positions_mm", [GAP, DUPLICATE, JUMP], ids=["gap", "duplicate", "jump"])
@pytest.mark.parametrize("name", SMALL)
def test_slices_on_both_sides_of_a_gap_are_two_volumes(name, positions_mm, tmp_path):
    denoiser, whole = denoiser_of(name, tmp_path), replace(volume_of(11), positions_mm=positions_mm)
    parts = [
        replace(whole, hu=whole.hu[these], positions_mm=positions_mm[these]) for these in (slice(0, 7), slice(7, 11))
    ]

    expected = np.concatenate([denoiser.denoise(part) for part in parts])

    assert np.array_equal(denoiser.denoise(whole), expected)
    assert np.array_equal(denoiser.denoise_slice(whole, 6), expected[6])
    assert torch.equal(denoiser.network_input(whole, 7), denoiser.network_input(parts[1], 0))
    without_gap = denoiser.denoise(replace(whole, positions_mm=3.0 * np.arange(11)))
    assert np.abs(without_gap - expected).max() > 1e-3


@pytest.mark.parametrize("lower_hu", [-1200.0, -1024.0, -900.0])
def test_padding_is_air_to_the_network_whatever_its_range(lower_hu, tmp_path):
    folder = write_small_bundle(
        tmp_path / "model",
        "red_cnn.RedCnn",
        channels=4,
        normalization={"lower_hu": lower_hu, "upper_hu": 3072.0},
    )
    denoiser, volume = Denoiser(read_bundle(folder), torch.device("cpu")), volume_of(1)
    outside = np.zeros(volume.hu.shape, dtype=bool)
    outside[:, :5] = True
    padded = replace(volume, hu=np.where(outside, np.float32(-3024), volume.hu), padding=Padding.of(outside))

    seen = denoiser.network_input(padded, 0)

    assert seen[0, 0, :5].numpy() == pytest.approx(max(0, (-1000 - lower_hu) / (3072 - lower_hu)))

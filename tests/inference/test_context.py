"""Networks that see neighbouring slices: the same slice by slice as in slabs, no seams, ends repeated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ldctpipe.inference import denoiser as inference
from ldctpipe.inference.denoiser import Denoiser
from ldctpipe.recipes.bundle import WEIGHTS, read_bundle, write_bundle
from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.networks import build_generator
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
        monkeypatch.setattr(inference, "_SLAB", slab)
        monkeypatch.setitem(inference._SLICES_AT_ONCE, "cpu", at_once)
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

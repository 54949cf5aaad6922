"""Fixtures that tests of every room share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from noisy_body import noisy_body

REPOSITORY = Path(__file__).resolve().parents[1]
# Orthanc lies in /usr/sbin; what requirements/debian.sh unpacked comes after what the machine has.
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], "/usr/sbin", str(REPOSITORY / ".tools" / "bin")])


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real CT beside the checkout; tests that need it are skipped, and say so, where it is not there."""
    folder = REPOSITORY.parent / "shared" / "data" / "raw"
    if not folder.is_dir():
        pytest.skip("real CT (../shared/data/raw) is not beside this checkout")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty file system of 64 KiB, or of the size given by indirect parametrization.

    Tests that need it are skipped where this process may not mount one.
    """
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "small_disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', '64k')}", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="session")
def tiny_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases of three paired patients, 4 slices of 128×128 each, and `sheet.csv` beside them (P3 is for testing)."""
    from ldctpipe.volumes.case import write_case
    from ldctpipe.volumes.volume import Volume

    root = tmp_path_factory.mktemp("tiny")
    affine = np.diag([-0.7, -0.7, 3.0, 1.0])
    positions_mm = np.arange(4) * 3.0
    for seed, patient in enumerate(("P1", "P2", "P3")):
        stacks = noisy_body(slices=4, side=128, seed=seed)
        for role, hu in zip(("low_dose", "full_dose"), stacks, strict=True):
            key = f"{patient}{role}"
            folder = root / "cases" / patient / role / key
            folder.mkdir(parents=True)
            write_case(folder, Volume(hu, affine, positions_mm, key=key, frame_of_reference=f"1.2.{seed}"))
    rows = [
        f"{p},cases/{p}/low_dose,cases/{p}/full_dose,{s}" for p, s in (("P1", "train"), ("P2", "train"), ("P3", "test"))
    ]
    (root / "sheet.csv").write_text("patient,low_dose,full_dose,split\n" + "\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="session")
def tiny_store(tiny_cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training store of the tiny cases: 8 slice pairs."""
    from ldctpipe.data.preparation import prepare_store

    folder = tmp_path_factory.mktemp("store") / "store"
    prepare_store(tiny_cases / "sheet.csv", folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A denoiser bundle of random weights whose network visibly changes an image."""
    import torch
    from safetensors.torch import save_file

    from ldctpipe.recipes.bundle import WEIGHTS, write_bundle
    from ldctpipe.recipes.library import load_recipe
    from ldctpipe.recipes.networks import build_generator

    folder = tmp_path_factory.mktemp("bundle") / "model"
    folder.mkdir()
    recipe = load_recipe("wgan-gp-effnetv2-mini", ["generator.decoder_channels=[8,8,8,8,8]"])
    torch.manual_seed(0)
    network = build_generator(recipe)
    torch.nn.init.normal_(network.head.weight, std=3.0)
    save_file(network.state_dict(), folder / WEIGHTS)
    write_bundle(folder, recipe, {"notes": ["made for a test"]})
    return folder

"""KID and FID: what they are computed from, against other code, and that they say nothing where nothing is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchvision.models import inception_v3

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode, InputError
from ldctpipe.metrics.feature_distance import FeatureDistances, frechet_distance
from ldctpipe.metrics.matching import MatchedSeries
from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.volumes.case import write_case
from ldctpipe.volumes.volume import Volume

MAYO = find_protocol("mayo-soft")
LOW_HU, HIGH_HU = MAYO.window_hu
SLICES = 4


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the network: torchvision's has its layout, with 1,008 classes as in the first release."""
    torch.manual_seed(3)
    network = inception_v3(weights=None, aux_logits=False, num_classes=1008, init_weights=False)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(
                module.weight
            )  # torch's own start leaves nothing of the image after 94 layers
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


class Blocks(torch.nn.Module):
    """Means of blocks of 16 pixels as features: what FID and KID are is the same for any, and these take no time."""

    num_features = 30

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        assert images.dtype == torch.uint8
        return (torch.nn.functional.avg_pool2d(images[:, :1].float(), 16).flatten(1),)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file whose network is `Blocks`."""
    monkeypatch.setattr("ldctpipe.metrics.feature_distance._inception", lambda _weights: Blocks())
    (tmp_path / "blocks").touch()
    return tmp_path / "blocks"


def volume(hu: np.ndarray, key: str, padding: np.ndarray | None = None) -> Volume:
    return Volume(
        hu.astype(np.int16), np.diag([0.8, 0.8, 3.0, 1.0]), 3.0 * np.arange(len(hu)), key=key, padding=padding
    )


def series(low_sd_hu: float, denoised_sd_hu: float, slices: int = SLICES) -> MatchedSeries:
    """Blocks of soft tissue with white noise in the low dose and the denoised, none in the full dose."""
    generator = np.random.default_rng(4)
    full = np.kron(generator.integers(-100, 150, (slices, 5, 6)), np.ones((1, 16, 16)))
    low = full + generator.normal(0, low_sd_hu, full.shape)
    denoised = full + generator.normal(0, denoised_sd_hu, full.shape)
    index = np.arange(slices)
    return MatchedSeries(volume(low, "a"), volume(denoised, "d"), volume(full, "f"), index, index, index)


def measured(weights: Path, *found: MatchedSeries, seed: int = 1) -> dict:
    distances = FeatureDistances(weights, MAYO, torch.device("cpu"))
    for each in found:
        distances.add({"mini": each}, "P001")
    return distances.as_json(seed)


def test_less_noise_lies_nearer_and_no_difference_is_no_distance(weights):
    methods = measured(weights, series(40, 0))["methods"]
    assert methods["low_dose"]["fid"] > 1
    assert methods["low_dose"]["kid"] > 0
    assert abs(methods["mini"]["fid"]) < 1e-3
    assert methods["mini"]["kid"] <= 0  # an unbiased estimate of zero lies below zero for equal sets


def test_figures_are_those_of_torchmetrics(blocks):
    """A second implementation, given the images as the network gets them; more of them than features."""
    found = series(40, 10, slices=50)
    own = measured(blocks, found)["methods"]["mini"]

    class Pooled(Blocks):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images)[0].double()

    fid = FrechetInceptionDistance(Pooled()).set_dtype(torch.float64)
    kid = KernelInceptionDistance(Pooled(), subsets=1, subset_size=50).set_dtype(torch.float64)
    for images, real in ((found.full_dose.hu, True), (found.denoised.hu, False)):
        bytes_ = np.rint((np.clip(images, LOW_HU, HIGH_HU) - LOW_HU) * 255 / (HIGH_HU - LOW_HU)).astype(np.uint8)
        batch = torch.from_numpy(bytes_)[:, None].expand(-1, 3, -1, -1)
        fid.update(batch, real=real)
        kid.update(batch, real=real)
    assert own["fid"] == pytest.approx(float(fid.compute()), rel=1e-3)
    assert own["kid"] == pytest.approx(float(kid.compute()[0]), rel=1e-3)


def test_distance_of_known_distributions():
    """Independent features of known mean and deviation, orthogonal by construction: (Δμ)² + (σ₁ − σ₂)² for each."""
    signs = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]).T[:, 1:]
    first, other = signs * [1.0, 2.0, 3.0], signs * [2.0, 2.0, 5.0] + [0.0, 1.0, 2.0]
    unbiased = 4 / 3
    assert frechet_distance(first, other) == pytest.approx(0 + 1 + 4 + unbiased * (1 + 0 + 4))
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-12)


def test_all_series_count_and_batches_do_not_matter(blocks):
    together = series(40, 10)
    parts = [
        MatchedSeries(together.low_dose, together.denoised, together.full_dose, index, index, index)
        for index in (np.arange(1), np.arange(1, SLICES))
    ]
    whole, split = measured(blocks, together), measured(blocks, *parts)
    assert whole["n_images"] == split["n_images"] == SLICES
    assert split["methods"]["mini"]["fid"] == pytest.approx(whole["methods"]["mini"]["fid"], rel=1e-4)


def test_padding_and_what_the_window_cuts_are_no_distance(blocks):
    plain = series(0, 0)
    hu = plain.denoised.hu.copy()
    hu[:, :20] = 2000 * (np.arange(SLICES) % 2)[:, None, None]  # padding, where anything may stand
    padding = np.zeros(hu.shape, dtype=bool)
    padding[:, :20] = True
    odd = MatchedSeries(
        plain.low_dose, volume(hu, "d", padding), plain.full_dose, plain.low_index, plain.low_index, plain.low_index
    )
    untouched = measured(blocks, plain)["methods"]["mini"]
    assert measured(blocks, odd)["methods"]["mini"] == untouched
    bare = MatchedSeries(plain.low_dose, volume(hu, "d"), plain.full_dose, *[plain.low_index] * 3)
    assert measured(blocks, bare)["methods"]["mini"]["fid"] > untouched["fid"] + 1e-3


def test_one_image_is_no_set(blocks):
    found = measured(blocks, series(40, 10, slices=1))
    assert found["methods"] == {"low_dose": {"kid": None, "fid": None}, "mini": {"kid": None, "fid": None}}


def test_a_large_set_is_compared_in_subsets_that_the_seed_draws(blocks, monkeypatch):
    monkeypatch.setattr("ldctpipe.metrics.feature_distance._KID_IMAGES", SLICES - 1)
    distances = FeatureDistances(blocks, MAYO, torch.device("cpu"))
    distances.add({"mini": series(40, 10)}, "P001")
    first, again, other = (distances.as_json(seed) for seed in (1, 1, 2))
    assert first["kid"] == {"subsets": 100, "images_per_subset": SLICES - 1}
    assert first == again
    assert first["methods"]["mini"]["kid"] != other["methods"]["mini"]["kid"]
    assert first["methods"]["mini"]["fid"] == other["methods"]["mini"]["fid"]


@pytest.mark.parametrize("content", [b"not weights", None], ids=["no weights", "of another network"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    if content is None:
        torch.save(inception_v3(weights=None, aux_logits=False, init_weights=False).state_dict(), path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="holds no weights of the Inception network of FID"):
        FeatureDistances(path, MAYO, torch.device("cpu"))


def test_a_file_that_would_run_something_is_refused_and_runs_nothing(tmp_path):
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"fc.weight": Trap()}, tmp_path / "weights.pth")
    with pytest.raises(InputError):
        FeatureDistances(tmp_path / "weights.pth", MAYO, torch.device("cpu"))
    assert not (tmp_path / "ran").exists()


def evaluated(root: Path, *options: str) -> tuple[ExitCode, dict]:
    found = series(40, 10)
    for folder, each in (("low", found.low_dose), ("denoised", found.denoised), ("full", found.full_dose)):
        path = root / folder / f"{each.key:0>12}"
        path.mkdir(parents=True)
        write_case(path, volume(each.hu, path.name))
    args = ["evaluate", root / "denoised", root / "full", root / "metrics", "--low-dose", root / "low", *options]
    code = run([str(arg) for arg in args])
    return code, json.loads((root / "metrics" / "summary.json").read_text()) if code == ExitCode.DONE else {}


def test_the_command_tells_both_distances(tmp_path, capsys, weights):
    code, summary = evaluated(tmp_path, "--feature-weights", str(weights), "--device", "cpu", "--threads", "1")
    assert code == ExitCode.DONE
    found = summary["feature_distances"]
    assert found["n_images"] == SLICES
    assert len(found["weights_sha256"]) == 64
    printed = capsys.readouterr().out
    head, low, denoised = (line.split() for line in printed.splitlines()[2:5])
    assert head[-2:] == ["KID", "FID"]
    assert low[-1] == f"{found['methods']['low_dose']['fid']:.2f}"
    assert denoised[-2:] == [f"{found['methods']['denoised']['kid']:.4f}", f"{found['methods']['denoised']['fid']:.2f}"]


def test_without_weights_they_are_absent_with_the_reason(tmp_path, capsys):
    code, summary = evaluated(tmp_path)
    assert code == ExitCode.DONE
    assert summary["feature_distances"] is None
    assert "--feature-weights" in summary["notes"]["feature_distances"]
    assert "FID" not in capsys.readouterr().out

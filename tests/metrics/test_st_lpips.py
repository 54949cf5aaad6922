"""ST-LPIPS against its authors' package where that is installed, and what `evaluate` makes of it everywhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode
from ldctpipe.metrics import st_lpips
from ldctpipe.metrics.protocols import find_protocol
from ldctpipe.metrics.st_lpips import ShiftTolerantVgg, StLpips
from ldctpipe.metrics.summary_file import read_summary
from ldctpipe.volumes.case import write_case
from ldctpipe.volumes.volume import Volume

MAYO = find_protocol("mayo-soft")
CPU = torch.device("cpu")
NARROW = ((4, 4), (5, 5), (6, 6, 6), (7, 7, 7), (7, 7, 7))


@pytest.fixture
def narrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random tensors of a narrow network, under the names of the package's file."""
    monkeypatch.setattr(st_lpips, "_BLOCKS", NARROW)
    torch.manual_seed(2)
    tensors = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1), "scaling_layer.scale": torch.ones(1, 3, 1, 1)}
    channels, layer = 3, 0
    for number, widths in enumerate(NARROW):
        for width in widths:
            tensors[f"net.slice{number + 1}.{layer}.weight"] = torch.randn(width, channels, 3, 3) / 3
            tensors[f"net.slice{number + 1}.{layer}.bias"] = torch.zeros(width)
            channels, layer = width, layer + 2
        tensors[f"lin{number}.model.1.weight"] = torch.rand(1, channels, 1, 1)
        layer += 2
    torch.save(tensors, tmp_path / "narrow.pth")
    return tmp_path / "narrow.pth"


def images() -> tuple[np.ndarray, np.ndarray]:
    """A reference of blocks of 8 pixels inside the window, and the same with noise; (96, 80) in HU."""
    random = np.random.default_rng(5)
    reference = np.kron(random.integers(-160, 240, (12, 10)), np.ones((8, 8)))
    return np.clip(reference + random.normal(0, 20, reference.shape), -160, 240), reference


def test_figures_are_those_of_the_authors_package(monkeypatch):
    pytest.importorskip("stlpips_pytorch", reason="stlpips-pytorch is an optional extra")
    for name, attribute in (("IPython", "embed"), ("torchsummary", "summary")):  # imported there, and never used
        stand_in = ModuleType(name)
        setattr(stand_in, attribute, None)
        monkeypatch.setitem(sys.modules, name, stand_in)
    from stlpips_pytorch import stlpips, utils

    noisy, reference = images()
    peer = stlpips.LPIPS(net="vgg", variant="shift_tolerant", verbose=False)
    as_tensor = [utils.im2tensor(np.repeat(((hu + 160) * 255 / 400)[..., None], 3, 2)) for hu in (noisy, reference)]
    with torch.no_grad():
        expected = float(peer(*as_tensor))
    assert StLpips(MAYO, CPU).distances([noisy], reference) == [pytest.approx(expected, rel=1e-5)]


def test_an_image_has_no_distance_from_itself_and_more_noise_is_farther(narrow):
    noisy, reference = images()
    same, near, far = StLpips(MAYO, CPU, narrow).distances([reference, (noisy + reference) / 2, noisy], reference)
    assert same == 0 and 0 < near < far


def test_pixels_are_dropped_after_a_binomial_filter_with_mirrored_borders():
    features = np.random.default_rng(1).normal(size=(9, 12))
    binomial = np.outer([1, 2, 1], [1, 2, 1]) / 16
    padded = np.pad(features, 2, mode="reflect")
    expected = ndimage.convolve(padded, binomial)[1:-1:2, 1:-1:2]
    found = st_lpips._blurred_half(torch.from_numpy(features).float()[None, None])
    np.testing.assert_allclose(found[0, 0], expected[: found.shape[2], : found.shape[3]], atol=1e-6)


def test_a_layer_is_the_calibrated_mean_square_of_unit_features(narrow):
    """With all calibrations but the first layer's at zero, the sum can be written down."""
    tensors = torch.load(narrow, weights_only=True)
    for number in range(1, 5):
        tensors[f"lin{number}.model.1.weight"].zero_()
    pair = torch.rand(2, 3, 40, 40) * 2 - 1
    (found,) = ShiftTolerantVgg(tensors)(pair)
    layer = pair
    for name in ("net.slice1.0", "net.slice1.2"):
        layer = torch.nn.functional.conv2d(layer, tensors[f"{name}.weight"], padding=1).clamp(min=0)
    one, other = (each / np.sqrt((each**2).sum(0)).clip(1e-10) for each in layer.double().numpy().transpose(0, 1, 2, 3))
    weights = tensors["lin0.model.1.weight"].numpy()[0]
    assert float(found) == pytest.approx(float((weights * (one - other) ** 2).sum(0).mean()), rel=1e-4)


def put_patient(root: Path) -> None:
    noisy, reference = images()
    affine = np.diag([0.8, 0.8, 3.0, 1.0])
    for folder, hu in (
        ("cases/P1/full_dose/f", reference), ("cases/P1/low_dose/a", noisy), ("denoised/P1/d", (noisy + reference) / 2),
    ):  # fmt: skip
        (root / folder).mkdir(parents=True)
        stack = np.rint(np.stack([hu, hu])).astype(np.int16)
        write_case(root / folder, Volume(stack, affine, np.array([0.0, 3.0]), key=folder[-1]))


def test_it_is_a_column_of_slices_a_measure_of_the_summary_and_a_column_of_the_table(narrow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(st_lpips, "_weights_of_package", lambda: narrow)
    put_patient(tmp_path)
    arguments = ["evaluate", "denoised", "cases", "out", "--low-dose", "cases", "--quiet"]
    assert run([*arguments, "--st-lpips", "--device", "cpu"]) == ExitCode.DONE

    summary = read_summary(tmp_path / "out" / "summary.json")
    rows = pd.read_csv(tmp_path / "out" / "slices.csv")
    noisy, reference = (np.rint(hu) for hu in images())
    (expected,) = StLpips(MAYO, CPU, narrow).distances([noisy], reference)
    assert summary["methods"]["low_dose"]["st_lpips"]["mean"] == pytest.approx(expected, rel=1e-4)
    assert list(rows[rows["method"] == "low_dose"]["st_lpips"]) == pytest.approx([expected] * 2, rel=1e-4)
    (compared,) = (each for each in summary["comparisons"] if each["measure"] == "st_lpips")
    assert compared["difference"]["mean"] < 0 and compared["improved_percent"] == 100
    assert len(summary["st_lpips"]["weights_sha256"]) == 64
    assert "ST-LPIPS" in (tmp_path / "out" / "table.txt").read_text()
    assert "st_lpips" in (tmp_path / "out" / "results_mqc.tsv").read_text()

    assert run([*arguments, "--overwrite"]) == ExitCode.DONE
    assert "st_lpips" not in pd.read_csv(tmp_path / "out" / "slices.csv")
    assert "--st-lpips" in json.loads((tmp_path / "out" / "summary.json").read_text())["notes"]["st_lpips"]


def test_without_the_package_the_option_names_it_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "stlpips_pytorch", None)
    code = run(["evaluate", "denoised", "cases", "out", "--low-dose", "cases", "--st-lpips", "--device", "cpu"])
    error = capsys.readouterr().err
    assert code == ExitCode.USAGE and "ldctpipe[stlpips]" in error and len(error.strip().splitlines()) == 1
